#pragma once

#include <chrono>
#include <cstddef>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

#include "penstock/error.h"
#include "penstock/http_message.h"

namespace penstock {
class Runtime;
}

namespace penstock::http {

// A call that got no usable answer: refused, reset, garbage, or a name that does not resolve.
class CallError : public std::runtime_error {
 public:
  explicit CallError(const std::string& what) : std::runtime_error(what) {}
};

struct ClientOptions {
  // Beyond what the call's deadline allows.
  std::chrono::milliseconds connect_timeout{1'000};
  std::size_t max_header_bytes = 16 * 1024;
  std::size_t max_body_bytes = 16 * 1024 * 1024;
  // Idle connections kept per host and scheduler thread, and for how long.
  int max_idle = 64;
  std::chrono::milliseconds idle_timeout{30'000};
  // Extra attempts for idempotent methods on a failed connection, within the upstream's retry budget.
  int retries = 1;
  // Answers that count as an error of the upstream: status >= this.
  int error_status = 500;
};

// Calls by absolute URL ("http://host:port/path"). The host is matched to the policy's upstreams, whose guard is put
// around the call; hosts that match none are counted as upstream "other". Thread-safe; called from fibers only:
// std::logic_error elsewhere.
//
// Each call waits at most until min(upstream's timeout, the fiber's deadline). Throws Rejected, DeadlineExceeded,
// Cancelled, CallError. A cancelled call closes its connection, so that the peer can stop as well. A response with an
// error status is returned, not thrown.
class Client {
 public:
  explicit Client(Runtime& runtime, ClientOptions options = {});
  ~Client();
  Client(const Client&) = delete;

  Response get(std::string_view url, const Headers& headers = {});
  Response post(std::string_view url, std::string_view body, const Headers& headers = {});
  Response request(std::string_view method, std::string_view url, std::string_view body, const Headers& headers);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace penstock::http
