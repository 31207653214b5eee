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
#include "penstock/http_exchange.h"
#include "penstock/http_message.h"
#include "penstock/tls.h"

// An HTTP/1.1 server whose handlers are plain synchronous code on fibers. A connection without a request costs neither
// a fiber nor a stack.
namespace penstock {
class Runtime;
}

namespace penstock::http {

// Answers one request. An exception becomes an answer: RequestError its status, Rejected 503 with Retry-After,
// DeadlineExceeded 504, CallError (of a call to an upstream) 502, others 500.
using Handler = std::function<Response(const Request&)>;

// The same for bodies that come and go in pieces, and for upgrades. An exception after start() closes the connection,
// so that the client notices.
using StreamHandler = std::function<void(Exchange&)>;

// One request that was answered, for ServerOptions::access_log. Views are valid during the call.
struct AccessRecord {
  std::string_view method;
  std::string_view target;
  std::string_view peer;
  // Of a valid "traceparent"; empty without.
  std::string_view trace_id;
  // 499: the client left before.
  int status;
  // Of the answer's body.
  std::uint64_t bytes;
  // From the arrival of the header to the end of the answer; and where the time went.
  Duration took;
  Duration running;
  Duration ready;
  Duration waiting;
};

// As one line of JSON to the log.
void log_access(const AccessRecord& record);

struct ServerOptions {
  // Loopback unless told otherwise. Port 0 takes a free one.
  std::string address = "127.0.0.1";
  std::uint16_t port = 8080;
  // Unset: plain HTTP. A handshake may take header_timeout.
  std::optional<net::TlsServerOptions> tls;
  // Every connection must begin with a header of the PROXY protocol (version 1 or 2), which tells Request::peer(), and
  // is closed without an answer otherwise. Whoever can connect can then claim any address: for listeners that only a
  // load balancer reaches.
  bool proxy_protocol = false;
  // Also serves /metrics and /healthz on the same address; they bypass pools.
  bool serve_metrics = true;
  // Also serves /debug/fibers (with ?format=json and ?limit=1000) and /debug/stats there. They show what the service is
  // made of and whom it talks to: for a listener that only operators reach.
  bool serve_debug = false;
  // Pools, priorities and deadlines of the policy apply to the routes; off for auxiliary servers.
  bool admission = true;
  std::size_t max_header_bytes = 16 * 1024;  // over: 431, or 414 in the target
  std::size_t max_body_bytes = 1024 * 1024;  // over: 413
  // From the first byte of a request (or from accept) to the end of its header: over, 408 and close. This and
  // idle_timeout are exact to a quarter of theirs, at most to the second.
  std::chrono::milliseconds header_timeout{10'000};
  // For the whole body of a request to a Handler, on top of one second for each 16 KiB of it: over, 408 and close.
  std::chrono::milliseconds body_timeout{30'000};
  // Between two reads of a body, two writes of a response: over, close.
  std::chrono::milliseconds io_timeout{30'000};
  std::chrono::milliseconds idle_timeout{75'000};
  // Connections open at once on the node; beyond, accepting pauses.
  int max_connections = 100'000;
  // When the pool "default" is full: a request is queued or refused by the pool's rules; or no more connections are
  // accepted before there is a place, so that they wait in the kernel's backlog (as gevent's StreamServer does).
  enum class WhenFull { refuse, stop_accepting };
  WhenFull when_full = WhenFull::refuse;
  // A client that shuts down its sending side is taken to have left, and its request is cancelled (as nginx and Go do).
  bool cancel_on_disconnect = true;
  // Takes the time that a request may last from its header "X-Request-Timeout" (seconds such as "1.5", or with a unit:
  // "250ms", "2s", "1m") or "grpc-timeout" ("250m", "2S"). Where the policy says a deadline as well, the earlier one
  // counts: a client can only make it shorter. Malformed, not positive, or more than eight digits: 400.
  bool request_timeouts = true;
  // Called after each request, on its fiber; must neither wait nor throw. Such as http::log_access.
  std::function<void(const AccessRecord&)> access_log;
};

// Serves until the runtime stops: then it takes no new connections, finishes what is in flight within the grace period
// and answers "Connection: close". The same, without an end to the grace, when it is destroyed before: what its
// handlers refer to must live until their last request has ended.
class Server {
 public:
  // Binds at once; throws boost::system::system_error (as std::system_error compatible what()) when it cannot.
  Server(Runtime& runtime, ServerOptions options);
  ~Server();
  Server(const Server&) = delete;

  // `pattern`: a path, with "{name}" for one segment, or a prefix ending in "*". `method` empty: any; "GET" takes HEAD,
  // too. Of several that match a request and take its method, a path without parameters counts first, then one with
  // them, then the longest prefix. An escaped character is the same as the character, but for "%2F".
  // The pattern is the label `route` of metrics, and what the policy's routes are matched against is the path.
  //
  // Before the runtime runs: std::logic_error later. Throws std::invalid_argument for a malformed pattern, and for a
  // second one for the same paths and method.
  void route(std::string_view method, std::string_view pattern, Handler handler);
  void route(std::string_view method, std::string_view pattern, StreamHandler handler);

  // Reads the files of TLS again, at once; blocks the thread for that. Throws std::invalid_argument if they are of no
  // use, and the old ones stay in force; std::logic_error without TLS. Thread-safe.
  void reload_certificates();

  // "127.0.0.1:port" as bound.
  std::string address() const;
  std::uint16_t port() const;

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace penstock::http
