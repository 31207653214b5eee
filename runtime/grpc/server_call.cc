#include "runtime/grpc/server_call.h"

#include <grpcpp/impl/call_op_set.h>
#include <grpcpp/impl/codegen/interceptor_common.h>
#include <grpcpp/support/method_handler.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/context/detail/exception.hpp>
#include <chrono>
#include <new>
#include <string_view>
#include <utility>

#include "penstock/grpc_handler.h"
#include "runtime/grpc/private_member.h"
#include "runtime/grpc/status.h"
#include "runtime/http/trace_context.h"
#include "runtime/registry.h"
#include "runtime/telemetry/one_line.h"

namespace penstock::grpc {
namespace {

using ::grpc::Status;
using ::grpc::StatusCode;
using ::grpc::internal::CallOpServerSendStatus;
using ::grpc::internal::MethodHandler;

PENSTOCK_PRIVATE_MEMBER(c_buffer, ::grpc::ByteBuffer, buffer_)
PENSTOCK_PRIVATE_FUNCTION(show_status, CallOpServerSendStatus, SetInterceptionHookPoint)

// What the handler of this thread's running fiber has just thrown; taken when its status is sent, before any wait.
thread_local std::exception_ptr thrown;

// Of generated code, for a handler that threw.
constexpr std::string_view kThrew = "Unexpected error in RPC handling";

void cancel(grpc_call* call, StatusCode code, const char* why) noexcept {
  ::grpc_call_cancel_with_status(call, static_cast<grpc_status_code>(code), why, nullptr);
}

}  // namespace

void handler_threw(std::exception_ptr error) noexcept {
  if (fiber::on_fiber()) thrown = std::move(error);
}

struct ServerCall::Body {
  explicit Body(ServerCall& call) : call(&call) {}
  Body(const Body&) = delete;
  ~Body() {
    if (call != nullptr) call->not_started();
  }
  void run() { std::exchange(call, nullptr)->run(); }
  ServerCall* call;
};

void ServerCall::ask(std::shared_ptr<ServerState> server, Method& method, Poller& poller) {
  auto* call = new ServerCall(std::move(server), method, poller);
  try {
    call->context_.AsyncNotifyWhenDone(static_cast<Event*>(&call->end_));
    method.service->ask(method, call->context_, call->request_, *call,
                        static_cast<::grpc::ServerCompletionQueue&>(poller.queue()), call->arrival_);
  } catch (const std::bad_alloc&) {
    delete call;
    throw;
  }
}

ServerCall::ServerCall(std::shared_ptr<ServerState> server, Method& method, Poller& poller)
    : server_(std::move(server)), method_(method), poller_(poller) {}

ServerCall::~ServerCall() = default;

void ServerCall::BindCall(::grpc::internal::Call* call) {
  call_ = ::grpc::internal::Call(call->call(), this, call->cq(), call->max_receive_message_size(), nullptr);
}

void ServerCall::arrived(bool ok) {
  if (!ok) {
    // The server shuts down.
    users_ = 1;
    return release();
  }
  arrived_ = std::chrono::steady_clock::now();
  work_.emplace(server_->runtime);
  ask_for_next();
  std::shared_ptr<Body> body;
  try {
    body = std::make_shared<Body>(*this);
  } catch (const std::bad_alloc& e) {
    log_failure(e.what());
    return not_started();
  }
  try {
    fiber_ = server_->runtime.spawn(method_.path, [body = std::move(body)] { body->run(); });
  } catch (const std::exception& e) {
    // The body has ended the call.
    log_failure(e.what());
  }
}

// What could not be asked for without memory is asked for when the next call comes.
void ServerCall::ask_for_next() {
  int owed = method_.owed.exchange(0, std::memory_order_relaxed) + 1;
  try {
    for (; owed > 0; --owed) server_->ask(method_, poller_);
  } catch (const std::bad_alloc& e) {
    method_.owed.fetch_add(owed, std::memory_order_relaxed);
    log_failure(e.what());
  }
}

void ServerCall::done() {
  if (context_.IsCancelled()) {
    client_left_.store(true, std::memory_order_relaxed);
    fiber_.cancel();
  }
  release();
}

void ServerCall::not_started() noexcept {
  cancel(call_.call(), StatusCode::UNAVAILABLE, "the server cannot take the call");
  work_.reset();
  release();
}

void ServerCall::release() noexcept {
  if (users_.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  const std::shared_ptr<ServerState> server = server_;
  delete this;
  server->call_ended();
}

void ServerCall::run() noexcept {
  auto account = std::make_shared<fiber::RequestAccount>();
  fiber::set_account(account);
  serve(*account);
  fiber::set_account(nullptr);

  if (client_left_.load(std::memory_order_relaxed)) {
    code_ = deadline_ <= std::chrono::steady_clock::now() ? StatusCode::DEADLINE_EXCEEDED : StatusCode::CANCELLED;
  } else if (interrupted_) {
    code_ = *interrupted_;
  }
  auto& metrics = method_.metrics[fiber::thread_index()];
  if (!metrics) metrics = std::make_unique<http::RouteMetrics>(server_->runtime.metrics(), method_.path);
  metrics->finished(http_code(code_), priority_,
                    std::max(std::chrono::steady_clock::now() - arrived_, Duration::zero()));
  if (rejected_) metrics->rejected(priority_, *rejected_);
  metrics->account(*account);
  work_.reset();
  release();
}

void ServerCall::serve(fiber::RequestAccount& account) {
  const auto& metadata = context_.client_metadata();
  if (const auto found = metadata.find("traceparent"); found != metadata.end()) {
    if (const auto trace = http::TraceContext::parse({found->second.data(), found->second.size()})) {
      account.trace = *trace;
    }
  }
  deadline_ = to_instant(context_.raw_deadline());
  Pool* pool = nullptr;
  if (server_->options.admission) {
    const RouteDecision decided = RuntimeAccess::state(server_->runtime).registry->route(method_.path);
    account.priority = priority_ = decided.priority;
    account.tenant = decided.tenant;
    if (decided.tenants != nullptr) {
      const auto said = metadata.find(decided.tenants->header);
      account.tenant = said == metadata.end()
                           ? decision::kOthers
                           : decision::tenant_named(*decided.tenants, {said->second.data(), said->second.size()});
    }
    if (decided.deadline) deadline_ = std::min(deadline_, arrived_ + *decided.deadline);
    pool = decided.pool;
  }
  const DeadlineScope scope(deadline_);
  Pool::Permit permit;
  try {
    if (pool != nullptr) {
      RuntimeAccess::state(server_->runtime).registry->door().enter(priority_, account.tenant);
      permit = pool->acquire(priority_);
    }
  } catch (const boost::context::detail::forced_unwind&) {
    throw;
  } catch (...) {
    refusal_ = failed(std::current_exception());
  }
  if (refusal_) {
    ::grpc::internal::ErrorMethodHandler<StatusCode::UNKNOWN> refuse("");
    return run_handler(refuse);
  }
  run_handler(*method_.original->handler());
}

void ServerCall::run_handler(MethodHandler& handler) {
  Status status;
  void* data = nullptr;
  void* request = nullptr;
  if (method_.takes_one_request()) {
    // Takes the buffer over.
    request = handler.Deserialize(call_.call(), std::exchange(c_buffer(request_), nullptr), &status, &data);
  }
  handler.RunHandler(MethodHandler::HandlerParameter(&call_, &context_, request, status, data, {}));
}

bool ServerCall::starting(::grpc::internal::CallOpSetInterface& ops) {
  auto* send = dynamic_cast<CallOpServerSendStatus*>(&ops);
  if (send == nullptr) return false;
  ::grpc::internal::InterceptorBatchMethodsImpl shown;
  show_status(*send, &shown);
  Status status = shown.GetSendStatus();
  if (refusal_) {
    shown.ModifySendStatus(status = *refusal_);
  } else if (const std::exception_ptr error = std::exchange(thrown, nullptr)) {
    shown.ModifySendStatus(status = failed(error));
  } else if (status.error_code() == StatusCode::UNKNOWN && status.error_message() == kThrew) {
    std::exception_ptr guess;
    try {
      check_interrupts();
      throw std::runtime_error("an exception; link penstock::grpc_handlers to see which");
    } catch (...) {
      guess = std::current_exception();
    }
    shown.ModifySendStatus(status = failed(guess));
  }
  code_ = status.error_code();
  return true;
}

Status ServerCall::failed(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const Rejected& e) {
    rejected_ = e.reason();
  } catch (const Cancelled&) {
    if (!client_left_.load(std::memory_order_relaxed)) return {StatusCode::UNAVAILABLE, "stopping"};
  } catch (const DeadlineExceeded&) {
  } catch (const std::exception& e) {
    log_failure(e.what());
  } catch (...) {
    log_failure("an exception of unknown type");
  }
  return status_of(error);
}

void ServerCall::log_failure(const char* what) {
  const std::int64_t second =
      std::chrono::duration_cast<std::chrono::seconds>(std::chrono::steady_clock::now().time_since_epoch()).count();
  if (method_.logged_second.exchange(second, std::memory_order_relaxed) == second) return;
  spdlog::error("route {}: {}", method_.path, telemetry::OneLine{what});
}

void ServerCall::interrupted(fiber::Wake why) noexcept {
  if (why == fiber::Wake::deadline) {
    interrupted_ = StatusCode::DEADLINE_EXCEEDED;
    cancel(call_.call(), StatusCode::DEADLINE_EXCEEDED, "deadline exceeded");
  } else {
    interrupted_ = StatusCode::UNAVAILABLE;
    cancel(call_.call(), StatusCode::UNAVAILABLE, "stopping");
  }
}

}  // namespace penstock::grpc
