#pragma once

#include <grpcpp/impl/call.h>
#include <grpcpp/server_context.h>
#include <grpcpp/support/byte_buffer.h>

#include <atomic>
#include <exception>
#include <memory>
#include <optional>

#include "penstock/fiber.h"
#include "penstock/pool.h"
#include "runtime/fiber/fiber_state.h"
#include "runtime/grpc/fiber_call.h"
#include "runtime/grpc/server_state.h"
#include "runtime/runtime_state.h"

namespace penstock::grpc {

// A call of a method: asked for, come, run on a fiber, ended. Destroys itself when both its handler and gRPC are done
// with it.
class ServerCall final : public FiberCall, private ::grpc::internal::ServerAsyncStreamingInterface {
 public:
  // Asks gRPC for it, on the poller's queue.
  static void ask(std::shared_ptr<ServerState> server, Method& method, Poller& poller);

 private:
  struct Arrival final : Event {
    explicit Arrival(ServerCall& call) : call(call) {}
    void happened(bool ok) override { call.arrived(ok); }
    ServerCall& call;
  };
  struct End final : Event {
    explicit End(ServerCall& call) : call(call) {}
    void happened(bool) override { call.done(); }
    ServerCall& call;
  };
  // The body of the fiber. Destroyed without having been called: there was no memory for the fiber, or no thread.
  struct Body;

  ServerCall(std::shared_ptr<ServerState> server, Method& method, Poller& poller);
  ~ServerCall();

  // On the poller's thread.
  void arrived(bool ok);
  void ask_for_next();
  void done();

  // On the fiber.
  void run() noexcept;
  void serve(fiber::RequestAccount& account);
  void run_handler(::grpc::internal::MethodHandler& handler);
  ::grpc::Status failed(const std::exception_ptr& error);
  void log_failure(const char* what);

  void not_started() noexcept;
  void release() noexcept;

  // FiberCall.
  bool starting(::grpc::internal::CallOpSetInterface& ops) override;
  void interrupted(fiber::Wake why) noexcept override;
  void ended(void*) noexcept override {}
  fiber::WaitingFor waiting_for() const noexcept override {
    return {.what = "a gRPC client of", .name = &method_.path};
  }

  // ServerAsyncStreamingInterface.
  void SendInitialMetadata(void*) override {}
  void BindCall(::grpc::internal::Call* call) override;

  const std::shared_ptr<ServerState> server_;
  Method& method_;
  Poller& poller_;
  Arrival arrival_{*this};
  End end_{*this};
  std::atomic<int> users_{2};

  ::grpc::ServerContext context_;
  ::grpc::ByteBuffer request_;
  ::grpc::internal::Call call_;
  Instant arrived_{};
  std::optional<RuntimeAccess::Work> work_;
  // Used by the poller's thread.
  Fiber fiber_;
  std::atomic<bool> client_left_{false};

  // The fiber's.
  decision::Priority priority_ = decision::Priority::normal;
  Instant deadline_ = Instant::max();
  // What it is answered instead of by the handler.
  std::optional<::grpc::Status> refusal_;
  std::optional<RejectReason> rejected_;
  // What its waits were ended by.
  std::optional<::grpc::StatusCode> interrupted_;
  ::grpc::StatusCode code_ = ::grpc::StatusCode::UNKNOWN;
};

}  // namespace penstock::grpc
