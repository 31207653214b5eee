#pragma once

#include <grpcpp/impl/channel_interface.h>
#include <grpcpp/impl/service_type.h>
#include <grpcpp/security/credentials.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/support/channel_arguments.h>
#include <grpcpp/support/status.h>

#include <exception>
#include <functional>
#include <memory>
#include <string>

// gRPC on fibers: the generated synchronous services and stubs, unchanged, where a call in flight costs a fiber instead
// of a thread. docs/grpc.md is the introduction.
//
// In this namespace `grpc` is penstock::grpc; gRPC's own is ::grpc.
namespace grpc {
class ServerBuilder;
}

namespace penstock {
class Runtime;
}

namespace penstock::grpc {

struct ServerState;

struct ServerOptions {
  // As gRPC writes them: "host:port", "[::1]:port", "unix:path"; port 0 takes a free one.
  std::string address = "127.0.0.1:0";
  // Null: plaintext.
  std::shared_ptr<::grpc::ServerCredentials> credentials;
  // Each request passes the pool that the policy's routes name for its path, "/package.Service/Method".
  bool admission = true;
  // Threads that drive the connections, 1 to 64. One serves some tens of thousands of calls a second.
  int pollers = 1;
  // Called before the server starts, for whatever else gRPC can be told: message sizes, keep-alive, more ports.
  std::function<void(::grpc::ServerBuilder&)> configure;
};

// Serves generated synchronous services (X::Service); each call runs as a fiber, on the next scheduler thread in turn.
//
// A handler's waits end at min(client's deadline, policy's) and when the client leaves or cancels; what it then throws
// or returns nobody sees. It may throw: see status_of(). Calls are counted in the metrics of HTTP requests; their route
// is the path, their code that of http_code(). Interceptors of gRPC's are not run.
//
// Destroyed before the runtime and before its services; waits for the handlers to end, and cancels them.
class Server {
 public:
  // Throws std::invalid_argument, naming the option.
  explicit Server(Runtime& runtime, ServerOptions options = {});
  ~Server();
  Server(const Server&) = delete;
  Server& operator=(const Server&) = delete;

  // Before start(). Throws std::invalid_argument for a service whose methods are not all synchronous ones.
  void add(::grpc::Service& service);

  // Begins to listen; Runtime::run() calls it when it begins. No effect when called again. Throws std::runtime_error
  // when the address cannot be had.
  void start();
  // The port it listens on; 0 before start() and for Unix sockets.
  int port() const;

 private:
  std::shared_ptr<ServerState> state_;
};

// A channel for generated stubs whose synchronous calls, made on a fiber, wait without holding the thread. Each is a
// call of the upstream: of that name, or with an empty one of the upstream that the policy has for the target's host.
//
// - The deadline is min(the context's, the fiber's, the upstream's timeout), for a stream as a whole.
// - A call that the upstream refuses ends at once with UNAVAILABLE ("upstream payments: breaker"), without a byte sent;
//   DEADLINE_EXCEEDED when no time is left for it.
// - A fiber that is cancelled cancels its call: CANCELLED. Calls return a status and do not throw; the next wait does.
// - UNAVAILABLE, INTERNAL, UNKNOWN and DATA_LOSS count as errors of the upstream, RESOURCE_EXHAUSTED as a refusal, with
//   the delay of its RetryInfo (Upstream::Call::finish_refused()), DEADLINE_EXCEEDED as a timeout, CANCELLED as
//   cancelled, all others as answers.
//
// Calls made on a plain thread, and those of the asynchronous and callback interfaces, are gRPC's own, and not guarded.
// Interceptors of gRPC's are not run for calls on fibers. Thread-safe. Used up before the runtime is destroyed. Throws
// std::invalid_argument for null credentials; std::logic_error when the program is linked so that gRPC cannot be made
// to wait on fibers.
std::shared_ptr<::grpc::ChannelInterface> channel(Runtime& runtime, std::string upstream, const std::string& target,
                                                  std::shared_ptr<::grpc::ChannelCredentials> credentials,
                                                  const ::grpc::ChannelArguments& arguments = {});

// What a handler's exception becomes:
// - Rejected: RESOURCE_EXHAUSTED, of a breaker UNAVAILABLE, for want of time DEADLINE_EXCEEDED; with a
//   google.rpc.RetryInfo among its details when it is known when to come again;
// - DeadlineExceeded: DEADLINE_EXCEEDED; Cancelled: CANCELLED; http::CallError: UNAVAILABLE;
// - all others: INTERNAL, without their text.
::grpc::Status status_of(const std::exception_ptr& error);

// The HTTP status that google.rpc.Code has for it, such as 429 for RESOURCE_EXHAUSTED and 499 for CANCELLED.
int http_code(::grpc::StatusCode code);

}  // namespace penstock::grpc
