#include <grpc/grpc.h>
#include <grpc/impl/codegen/grpc_types.h>
#include <grpcpp/channel.h>
#include <grpcpp/client_context.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/create_channel.h>
#include <grpcpp/impl/call.h>
#include <grpcpp/impl/call_op_set.h>
#include <grpcpp/impl/rpc_method.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <mutex>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <utility>

#include "penstock/grpc.h"
#include "penstock/runtime.h"
#include "penstock/upstream.h"
#include "runtime/fiber/fiber_state.h"
#include "runtime/grpc/blocking_queue.h"
#include "runtime/grpc/fiber_call.h"
#include "runtime/grpc/poller.h"
#include "runtime/grpc/private_member.h"
#include "runtime/grpc/retry_info.h"
#include "runtime/grpc/status.h"
#include "runtime/http/trace_context.h"

namespace penstock::grpc {
namespace {

using ::grpc::ChannelInterface;
using ::grpc::CompletionQueue;
using ::grpc::StatusCode;
using ::grpc::internal::CallOpClientRecvStatus;

PENSTOCK_PRIVATE_MEMBER(status_code, CallOpClientRecvStatus, status_code_)
PENSTOCK_PRIVATE_MEMBER(trailers, CallOpClientRecvStatus, metadata_map_)
PENSTOCK_PRIVATE_FUNCTION(create_call, ChannelInterface, CreateCall)
PENSTOCK_PRIVATE_FUNCTION(register_method, ChannelInterface, RegisterMethod)
PENSTOCK_PRIVATE_FUNCTION(notify_on_state_change, ChannelInterface, NotifyOnStateChangeImpl)
PENSTOCK_PRIVATE_FUNCTION(wait_for_state_change, ChannelInterface, WaitForStateChangeImpl)
PENSTOCK_PRIVATE_FUNCTION(callback_queue, ChannelInterface, CallbackCQ)

// The one that all channels of the process share; it ends with the last of them and of their calls.
std::shared_ptr<Poller> shared_poller() {
  static std::mutex mutex;
  static std::weak_ptr<Poller> shared;
  const std::lock_guard lock(mutex);
  std::shared_ptr<Poller> poller = shared.lock();
  if (!poller) {
    poller = std::make_shared<Poller>(std::make_unique<CompletionQueue>(), "grpc-calls");
    shared = poller;
  }
  return poller;
}

// A synchronous call on a fiber: from its creation to the end of the object that made it.
class ClientCall final : public FiberCall {
 public:
  explicit ClientCall(std::shared_ptr<Poller> poller) : poller_(std::move(poller)) {}
  ~ClientCall() {
    if (call_ != nullptr) ::grpc_call_unref(call_);
  }

  // Before the RPC is made. What it is to end with instead, if the upstream refuses.
  std::optional<::grpc::Status> begin(Upstream& upstream, ::grpc::ClientContext& context) {
    try {
      guard_.emplace(upstream.begin());
      name_ = &upstream.name();
    } catch (const Rejected& e) {
      const bool late = e.reason() == RejectReason::deadline;
      return ::grpc::Status(late ? StatusCode::DEADLINE_EXCEEDED : StatusCode::UNAVAILABLE, e.what());
    } catch (const DeadlineExceeded& e) {
      return ::grpc::Status(StatusCode::DEADLINE_EXCEEDED, e.what());
    } catch (const Cancelled& e) {
      return ::grpc::Status(StatusCode::CANCELLED, e.what());
    }
    if (guard_->deadline() < to_instant(context.raw_deadline())) context.set_deadline(to_timespec(guard_->deadline()));
    const auto& account = fiber::current().account;
    if (account && account->trace.valid())
      context.AddMetadata("traceparent", account->trace.header(http::new_span_id()));
    return std::nullopt;
  }

  ::grpc::internal::Call bind(grpc_call* call) {
    ::grpc_call_ref(call);
    call_ = call;
    return {call, this, &poller_->queue()};
  }

 private:
  bool starting(::grpc::internal::CallOpSetInterface& ops) override {
    if (auto* receive = dynamic_cast<CallOpClientRecvStatus*>(&ops)) {
      status_ = receive;
      status_tag_ = ops.core_cq_tag();
    }
    return false;
  }

  void interrupted(fiber::Wake why) noexcept override {
    if (why == fiber::Wake::cancelled) {
      ::grpc_call_cancel_with_status(call_, GRPC_STATUS_CANCELLED, "the request was cancelled", nullptr);
    } else {
      ::grpc_call_cancel_with_status(call_, GRPC_STATUS_DEADLINE_EXCEEDED, "the request's deadline passed", nullptr);
    }
  }

  void ended(void* tag) noexcept override {
    if (tag != status_tag_ || !guard_) return;
    const auto code = static_cast<StatusCode>(status_code(*status_));
    if (code == StatusCode::RESOURCE_EXHAUSTED) {
      guard_->finish_refused(retry_delay(trailers(*status_)->GetBinaryErrorDetails()));
    } else {
      guard_->finish(outcome_of(code));
    }
    guard_.reset();
  }

  fiber::WaitingFor waiting_for() const noexcept override { return {.what = "a gRPC call to", .name = name_}; }

  // Outlives the queue that the call belongs to.
  const std::shared_ptr<Poller> poller_;
  grpc_call* call_ = nullptr;
  const std::string* name_ = nullptr;
  std::optional<Upstream::Call> guard_;
  CallOpClientRecvStatus* status_ = nullptr;
  void* status_tag_ = nullptr;
};

// "dns:///host:port", "host:port", "[::1]:port", "host"; a port of 0 stands for none.
std::pair<std::string, std::uint16_t> host_and_port(std::string_view target) {
  if (const auto path = target.rfind('/'); path != target.npos) target.remove_prefix(path + 1);
  if (const auto scheme = target.find(':'); scheme != target.npos) {
    const std::string_view name = target.substr(0, scheme);
    if (name == "dns" || name == "ipv4" || name == "ipv6") target.remove_prefix(scheme + 1);
  }
  const auto colon = target.rfind(':');
  const bool has_port = colon != target.npos && target.find(']', colon) == target.npos &&
                        (target.find(':') == colon || target.front() == '[');
  std::string_view host = target.substr(0, has_port ? colon : target.npos);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  const int port = has_port ? std::atoi(std::string(target.substr(colon + 1)).c_str()) : 0;
  return {std::string(host), static_cast<std::uint16_t>(std::clamp(port, 0, 65535))};
}

class FiberChannel final : public ChannelInterface {
 public:
  FiberChannel(Runtime& runtime, std::string upstream, const std::string& target,
               std::shared_ptr<ChannelInterface> inner)
      : runtime_(runtime),
        upstream_(std::move(upstream)),
        target_(host_and_port(target)),
        inner_(std::move(inner)),
        poller_(shared_poller()) {}

  grpc_connectivity_state GetState(bool try_to_connect) override { return inner_->GetState(try_to_connect); }

 private:
  Upstream& upstream() {
    Upstream* named = upstream_.empty() ? nullptr : runtime_.find_upstream(upstream_);
    return named != nullptr ? *named : runtime_.match_upstream(target_.first, target_.second);
  }

  ::grpc::internal::Call CreateCall(const ::grpc::internal::RpcMethod& method, ::grpc::ClientContext* context,
                                    CompletionQueue* queue) override {
    if (!made_to_block(queue->cq()) || !fiber::on_fiber()) return create_call(*inner_, method, context, queue);
    auto call = std::make_shared<ClientCall>(poller_);
    const std::optional<::grpc::Status> refused = call->begin(upstream(), *context);
    const ::grpc::internal::Call bound = call->bind(create_call(*inner_, method, context, &poller_->queue()).call());
    if (refused) {
      // Before its first operation: it ends with this, and nothing is sent.
      ::grpc_call_cancel_with_status(bound.call(), static_cast<grpc_status_code>(refused->error_code()),
                                     refused->error_message().c_str(), nullptr);
    }
    keep_with(queue->cq(), std::move(call));
    return bound;
  }

  // Calls bring their own hook.
  void PerformOpsOnCall(::grpc::internal::CallOpSetInterface* ops, ::grpc::internal::Call* call) override {
    ops->FillOps(call);
  }

  void* RegisterMethod(const char* method) override { return register_method(*inner_, method); }
  void NotifyOnStateChangeImpl(grpc_connectivity_state last, gpr_timespec deadline, CompletionQueue* queue,
                               void* tag) override {
    notify_on_state_change(*inner_, last, deadline, queue, tag);
  }
  bool WaitForStateChangeImpl(grpc_connectivity_state last, gpr_timespec deadline) override {
    return wait_for_state_change(*inner_, last, deadline);
  }
  CompletionQueue* CallbackCQ() override { return callback_queue(*inner_); }

  Runtime& runtime_;
  const std::string upstream_;
  const std::pair<std::string, std::uint16_t> target_;
  const std::shared_ptr<ChannelInterface> inner_;
  const std::shared_ptr<Poller> poller_;
};

// gRPC waits up to two minutes before it tries again to connect; a server that is back is to be found sooner.
::grpc::ChannelArguments with_defaults(::grpc::ChannelArguments arguments) {
  const auto set = [&](std::string_view key, int value) {
    const grpc_channel_args given = arguments.c_channel_args();
    const bool is_given = std::any_of(given.args, given.args + given.num_args,
                                      [&](const grpc_arg& argument) { return key == argument.key; });
    if (!is_given) arguments.SetInt(std::string(key), value);
  };
  set(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
  set(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 1'000);
  set(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 5'000);
  return arguments;
}

}  // namespace

std::shared_ptr<ChannelInterface> channel(Runtime& runtime, std::string upstream, const std::string& target,
                                          std::shared_ptr<::grpc::ChannelCredentials> credentials,
                                          const ::grpc::ChannelArguments& arguments) {
  if (!credentials) throw std::invalid_argument("credentials: null");
  if (target.empty()) throw std::invalid_argument("target: must not be empty");
  require_interposed();
  return std::make_shared<FiberChannel>(
      runtime, std::move(upstream), target,
      ::grpc::CreateCustomChannel(target, std::move(credentials), with_defaults(arguments)));
}

}  // namespace penstock::grpc
