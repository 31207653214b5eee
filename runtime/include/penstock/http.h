#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "penstock/error.h"
#include "penstock/http_client.h"
#include "penstock/http_message.h"

// HTTP/1.1, server and client, as plain synchronous code on fibers.
namespace penstock {
class Runtime;
}

namespace penstock::http {

// A received request. Views are valid for the life of the handler's call.
class Request {
 public:
  std::string_view method() const;
  // As received: path and query.
  std::string_view target() const;
  // Without the query, not decoded.
  std::string_view path() const;
  // Decoded value of a query parameter; unset when absent.
  std::optional<std::string> query(std::string_view name) const;
  // Value of a path parameter, for a route such as "/orders/{id}"; empty when the route has none of that name.
  std::string_view param(std::string_view name) const;
  // Case-insensitive; empty when absent.
  std::string_view header(std::string_view name) const;
  std::string_view body() const;
  // The client's address, "ip:port".
  std::string_view peer() const;

 private:
  friend struct ServerAccess;
  struct State;
  explicit Request(const State& state) : state_(&state) {}
  const State* state_;
};

// An exception of a handler becomes an answer: Rejected 503 with Retry-After, DeadlineExceeded 504, others 500. An
// error of a call to an upstream (CallError) becomes 502.
using Handler = std::function<Response(const Request&)>;

struct ServerOptions {
  // Loopback unless told otherwise. Port 0 takes a free one.
  std::string address = "127.0.0.1";
  std::uint16_t port = 8080;
  // Also serves /metrics and /healthz on the same address; they bypass pools.
  bool serve_metrics = true;
  // Pools, priorities and deadlines of the policy apply to the routes; off for auxiliary servers.
  bool admission = true;
  std::size_t max_header_bytes = 16 * 1024;  // over: 431
  std::size_t max_body_bytes = 1024 * 1024;  // over: 413
  // From the first byte of a request (or from accept) to the end of its header: over, 408 and close.
  std::chrono::milliseconds header_timeout{10'000};
  // Between two reads of a body, two writes of a response: over, close.
  std::chrono::milliseconds io_timeout{30'000};
  std::chrono::milliseconds idle_timeout{75'000};
  // Connections open at once on the node; beyond, accepting pauses.
  int max_connections = 100'000;
  // A client that shuts down its sending side is taken to have left, and its request is cancelled (as nginx and Go do).
  bool cancel_on_disconnect = true;
};

// Serves until the runtime stops: then it takes no new connections, finishes what is in flight within the grace period
// and answers "Connection: close".
class Server {
 public:
  // Binds at once; throws boost::system::system_error (as std::system_error compatible what()) when it cannot.
  Server(Runtime& runtime, ServerOptions options);
  ~Server();
  Server(const Server&) = delete;

  // Registers before the runtime runs. `pattern`: exact path, with "{name}" for one segment, or a prefix ending in "*".
  // `method` empty: any. Throws std::invalid_argument for a malformed pattern or a duplicate.
  // The pattern is the label `route` of metrics, and what the policy's routes are matched against is the path.
  void route(std::string_view method, std::string_view pattern, Handler handler);

  // "127.0.0.1:port" as bound.
  std::string address() const;
  std::uint16_t port() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace penstock::http
