#pragma once

#include <grpcpp/impl/rpc_service_method.h>
#include <grpcpp/impl/service_type.h>
#include <grpcpp/server.h>

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "penstock/grpc.h"
#include "runtime/grpc/poller.h"
#include "runtime/http/route_metrics.h"

namespace penstock::grpc {

class FiberService;

// One method of a service, as the server runs it.
struct Method {
  FiberService* service;
  int index;
  ::grpc::internal::RpcServiceMethod* original;
  // "/package.Service/Method": what routes of the policy match, and the metrics' route.
  std::string path;
  // By scheduler thread, each used there only.
  std::vector<std::unique_ptr<http::RouteMetrics>> metrics;
  // When it last logged a failure, in seconds.
  std::atomic<std::int64_t> logged_second{-1};
  // Calls that could not be asked for.
  std::atomic<int> owed{0};

  // Whether a call's first and only request comes with the call itself.
  bool takes_one_request() const;
};

struct ServerState : std::enable_shared_from_this<ServerState> {
  ServerState(Runtime& given, ServerOptions given_options);
  ~ServerState();

  void start();
  // Takes no more calls, waits for those in flight, and cancels what is left then.
  void shut_down(Duration grace);
  // The same on a thread of its own; wait_for_drain() joins it.
  void begin_drain();
  void wait_for_drain();
  // Shut down, with all calls ended and the pollers gone. Once.
  void close();

  // Asks gRPC for the next call of the method. Throws std::bad_alloc.
  void ask(Method& method, Poller& poller);
  void call_ended();

  Runtime& runtime;
  const ServerOptions options;
  std::vector<std::unique_ptr<FiberService>> services;
  std::atomic<bool> started{false};
  std::atomic<int> port{0};

 private:
  std::vector<std::unique_ptr<Poller>> pollers_;
  std::unique_ptr<::grpc::Server> server_;

  std::atomic<bool> closed_{false};

  // Guards what follows.
  std::mutex mutex_;
  std::thread drain_;
  // Calls that gRPC was asked for or that run.
  int calls_ = 0;
  std::condition_variable ended_;
};

// A generated synchronous service's methods, as asynchronous ones to gRPC.
class FiberService final : public ::grpc::Service {
 public:
  FiberService(::grpc::Service& original, unsigned threads);

  std::vector<std::unique_ptr<Method>>& methods() { return methods_; }
  void ask(const Method& method, ::grpc::ServerContext& context, ::grpc::ByteBuffer& request,
           ::grpc::internal::ServerAsyncStreamingInterface& stream, ::grpc::ServerCompletionQueue& queue, Event& tag);

 private:
  std::vector<std::unique_ptr<Method>> methods_;
};

}  // namespace penstock::grpc
