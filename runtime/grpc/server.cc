#include <grpc/impl/codegen/grpc_types.h>
#include <grpcpp/completion_queue.h>
#include <grpcpp/server_builder.h>
#include <spdlog/spdlog.h>

#include <chrono>
#include <stdexcept>
#include <utility>

#include "penstock/grpc.h"
#include "penstock/runtime.h"
#include "runtime/grpc/blocking_queue.h"
#include "runtime/grpc/private_member.h"
#include "runtime/grpc/server_call.h"
#include "runtime/grpc/server_state.h"
#include "runtime/runtime_state.h"

namespace penstock::grpc {
namespace {

using ::grpc::internal::RpcMethod;
using ::grpc::internal::RpcServiceMethod;

PENSTOCK_PRIVATE_MEMBER(methods_of, ::grpc::Service, methods_)

// Calls of a method that gRPC is asked for in advance; more that come at once wait in gRPC for as long as a poller
// takes to ask again.
constexpr int kAskedFor = 16;
// Beyond the runtime's own grace, for last words.
constexpr auto kLastWords = std::chrono::seconds(2);

void require(bool holds, const char* what) {
  if (!holds) throw std::invalid_argument(std::string("grpc::ServerOptions: ") + what);
}

ServerOptions checked(ServerOptions options) {
  require(!options.address.empty(), "address must not be empty");
  require(options.pollers >= 1 && options.pollers <= 64, "pollers must be in [1, 64]");
  return options;
}

}  // namespace

bool Method::takes_one_request() const {
  return original->method_type() == RpcMethod::NORMAL_RPC || original->method_type() == RpcMethod::SERVER_STREAMING;
}

FiberService::FiberService(::grpc::Service& original, unsigned threads) {
  int index = 0;
  for (const auto& method : methods_of(original)) {
    if (!method || method->api_type() != RpcServiceMethod::ApiType::SYNC || method->handler() == nullptr) {
      throw std::invalid_argument("grpc::Server::add: a service with a method that is not a synchronous one");
    }
    auto* twin = new RpcServiceMethod(method->name(), method->method_type(), nullptr);
    AddMethod(twin);
    twin->SetServerApiType(RpcServiceMethod::ApiType::ASYNC);
    methods_.push_back(std::unique_ptr<Method>(
        new Method{.service = this, .index = index++, .original = method.get(), .path = method->name()}));
    methods_.back()->metrics.resize(threads);
  }
}

void FiberService::ask(const Method& method, ::grpc::ServerContext& context, ::grpc::ByteBuffer& request,
                       ::grpc::internal::ServerAsyncStreamingInterface& stream, ::grpc::ServerCompletionQueue& queue,
                       Event& tag) {
  if (method.takes_one_request()) {
    RequestAsyncUnary(method.index, &context, &request, &stream, &queue, &queue, &tag);
  } else {
    RequestAsyncBidiStreaming(method.index, &context, &stream, &queue, &queue, &tag);
  }
}

ServerState::ServerState(Runtime& given, ServerOptions given_options)
    : runtime(given), options(checked(std::move(given_options))) {
  require_interposed();
}

ServerState::~ServerState() = default;

void ServerState::start() {
  if (closed_ || started.exchange(true)) return;
  ::grpc::ServerBuilder builder;
  // A second server would share the port unnoticed.
  builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
  int bound = 0;
  builder.AddListeningPort(options.address,
                           options.credentials ? options.credentials : ::grpc::InsecureServerCredentials(), &bound);
  for (const auto& service : services) builder.RegisterService(service.get());
  if (options.configure) options.configure(builder);
  std::vector<std::unique_ptr<::grpc::ServerCompletionQueue>> queues;
  for (int i = 0; i < options.pollers; ++i) queues.push_back(builder.AddCompletionQueue());
  std::unique_ptr<::grpc::Server> server = builder.BuildAndStart();
  if (!server) {
    for (auto& queue : queues) Poller(std::move(queue), "grpc-server");
    throw std::runtime_error("gRPC cannot listen on " + options.address);
  }
  {
    const std::lock_guard lock(mutex_);
    server_ = std::move(server);
  }
  for (auto& queue : queues) pollers_.push_back(std::make_unique<Poller>(std::move(queue), "grpc-server"));
  for (const auto& poller : pollers_) {
    for (const auto& service : services) {
      for (const auto& method : service->methods()) {
        for (int i = 0; i < kAskedFor; ++i) ask(*method, *poller);
      }
    }
  }
  port = bound;
}

void ServerState::ask(Method& method, Poller& poller) {
  {
    const std::lock_guard lock(mutex_);
    ++calls_;
  }
  try {
    ServerCall::ask(shared_from_this(), method, poller);
  } catch (...) {
    call_ended();
    throw;
  }
}

void ServerState::call_ended() {
  const std::lock_guard lock(mutex_);
  if (--calls_ == 0) ended_.notify_all();
}

void ServerState::shut_down(Duration grace) {
  server_->Shutdown(std::chrono::system_clock::now() +
                    std::chrono::duration_cast<std::chrono::system_clock::duration>(grace));
}

void ServerState::begin_drain() {
  const std::lock_guard lock(mutex_);
  if (!server_ || closed_ || drain_.joinable()) return;
  drain_ = std::thread([this, grace = runtime.options().drain_grace + kLastWords] { shut_down(grace); });
}

void ServerState::wait_for_drain() {
  std::thread drain;
  {
    const std::lock_guard lock(mutex_);
    drain = std::move(drain_);
  }
  if (drain.joinable()) drain.join();
}

void ServerState::close() {
  if (closed_.exchange(true)) return;
  {
    const std::lock_guard lock(mutex_);
    if (!server_) return;
  }
  wait_for_drain();
  shut_down(Duration::zero());
  {
    std::unique_lock lock(mutex_);
    ended_.wait(lock, [this] { return calls_ == 0; });
  }
  // The queues still hold requests of gRPC's own, which turn to the server; the server turns to the queues.
  for (const auto& poller : pollers_) poller->stop();
  server_.reset();
  pollers_.clear();
}

Server::Server(Runtime& runtime, ServerOptions options)
    : state_(std::make_shared<ServerState>(runtime, std::move(options))) {
  const std::weak_ptr<ServerState> weak = state_;
  // Called right here, before there are services, when the runtime runs already: then start() is left to the caller.
  const auto made = std::make_shared<std::atomic<bool>>(false);
  RuntimeAccess::on_run(runtime, [weak, made] {
    if (const auto state = weak.lock(); state && *made) state->start();
  });
  *made = true;
  runtime.on_drain(
      [weak] {
        if (const auto state = weak.lock()) state->begin_drain();
      },
      [weak] {
        if (const auto state = weak.lock()) state->wait_for_drain();
      });
}

Server::~Server() { state_->close(); }

void Server::add(::grpc::Service& service) {
  if (state_->started) throw std::logic_error("grpc::Server::add after start()");
  state_->services.push_back(std::make_unique<FiberService>(service, state_->runtime.threads()));
}

void Server::start() { state_->start(); }

int Server::port() const { return state_->port; }

}  // namespace penstock::grpc
