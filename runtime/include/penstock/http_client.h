#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

#include "penstock/error.h"
#include "penstock/http_message.h"
#include "penstock/tls.h"

namespace penstock {
class Runtime;
}

namespace penstock::http {

// A call that got no usable answer: refused, reset, garbage, or a name that does not resolve. The text names the
// upstream, the address and what happened.
class CallError : public std::runtime_error {
 public:
  explicit CallError(const std::string& what) : std::runtime_error(what) {}
};

struct ClientOptions {
  // For resolving, connecting and the handshake of TLS together, if the call's deadline does not end it before. Over:
  // CallError.
  std::chrono::milliseconds connect_timeout{1'000};
  // Of an answer; also of its trailers and of the head of one chunk. Over: CallError.
  std::size_t max_header_bytes = 16 * 1024;
  // Of an answer that is returned as a whole. Over: CallError. What is read in pieces has no such limit.
  std::size_t max_body_bytes = 16 * 1024 * 1024;
  // Idle connections kept per host and scheduler thread, and for how long.
  int max_idle = 1024;
  std::chrono::milliseconds idle_timeout{30'000};
  // Connections per host and scheduler thread, idle ones included; 0: no limit but the upstream's. Beyond, a call waits
  // for one to become free, first come first served, at most until its deadline. Such waits are counted in
  // penstock_http_client_connection_waits_total.
  int max_connections = 0;
  // Extra attempts for idempotent methods on a failed connection, within the upstream's retry budget.
  int retries = 1;
  // Answers that count as an error of the upstream: status >= this.
  int error_status = 500;
  // Tells the upstream what is left of the call's deadline, in the header X-Request-Timeout, unless the call has one.
  bool forward_deadline = false;
  // A path: all calls go to this Unix socket, whatever host and port their URLs name; those still choose the upstream
  // of the policy and the header Host.
  std::string unix_socket;
  // Of "https" URLs. Files that it names are read at once; std::invalid_argument when they are of no use, or when a
  // protocol other than HTTP/1 is offered.
  net::TlsClientOptions tls;
};

// The body of a request that is sent in pieces.
class BodyLength {
 public:
  static BodyLength none() { return BodyLength(Kind::none, 0); }
  // Sent with Content-Length.
  static BodyLength bytes(std::uint64_t n) { return BodyLength(Kind::sized, n); }
  // Sent in chunks, to servers that speak HTTP/1.1.
  static BodyLength unknown() { return BodyLength(Kind::chunked, 0); }

 private:
  friend struct ClientAccess;
  enum class Kind { none, sized, chunked };
  BodyLength(Kind kind, std::uint64_t size) : kind_(kind), size_(size) {}
  Kind kind_;
  std::uint64_t size_;
};

// One call whose bodies go piece by piece, so that a slow reader slows down the writer. Made by Client::open(). Used by
// one fiber at a time, on the thread that made it.
//
// The guard of the upstream is around all of it: every wait ends at the call's deadline, the time up to the last byte
// is the call's time, and how the call ended is told when the body has been read to its end. Destroyed before that, its
// connection is closed and it counts as cancelled. Members throw DeadlineExceeded, Cancelled and CallError, after which
// the call has ended; std::logic_error when they are called out of order.
class ClientExchange {
 public:
  ClientExchange(ClientExchange&&) noexcept;
  ClientExchange& operator=(ClientExchange&&) noexcept;
  ~ClientExchange();

  // Sends a piece of the body; waits while the upstream takes no more. False: it takes nothing at all any more, as it
  // may when it has refused the request; head() says why. Throws std::length_error for more than was announced.
  bool write(std::string_view piece);
  // Ends the body; called by head() when the body has no length to keep. Trailers only with BodyLength::unknown().
  void finish(const Headers& trailers = {});

  // Waits for status and headers; the body stays empty. Interim answers (1xx) are skipped. May be called before
  // finish(), for an upstream that answers early.
  const Response& head();
  // Waits for at least one byte of the body; 0: it has ended.
  std::size_t read(char* data, std::size_t size);
  // Of the answer, complete when read() has returned 0.
  const Headers& trailers() const;

  struct State;

 private:
  friend struct ClientAccess;
  explicit ClientExchange(std::unique_ptr<State> state);
  std::unique_ptr<State> state_;
};

// Calls by absolute URL ("http://host:port/path"). The host is matched to the policy's upstreams, whose guard is put
// around the call; hosts that match none are counted as upstream "other". Thread-safe; called from fibers only:
// std::logic_error elsewhere. Redirects are not followed and bodies not decompressed: answers are returned as they
// come.
//
// Each call waits at most until min(upstream's timeout, the fiber's deadline). Throws Rejected, DeadlineExceeded,
// Cancelled, CallError. A cancelled call closes its connection, so that the peer can stop as well. A response with an
// error status is returned, not thrown.
//
// A kept connection that the server closed before it answered is replaced by a new one, for idempotent methods or when
// nothing had been sent; beyond that, ClientOptions::retries, for calls in one piece. Nothing is sent again once part
// of a streamed body was.
//
// Calls that fail, or are answered with an error status, are logged with their upstream, for each host and thread at
// most one a second. What a server sends unasked, such as a second answer, is never taken for an answer: its connection
// is closed, counted in penstock_http_client_unasked_total{upstream} and logged.
class Client {
 public:
  explicit Client(Runtime& runtime, ClientOptions options = {});
  ~Client();
  Client(const Client&) = delete;

  Response get(std::string_view url, const Headers& headers = {});
  Response post(std::string_view url, std::string_view body, const Headers& headers = {});
  Response request(std::string_view method, std::string_view url, std::string_view body, const Headers& headers);

  // A call in pieces. Waits for the upstream's guard and for a connection; what is sent first goes with the first piece
  // of the body.
  ClientExchange open(std::string_view method, std::string_view url, const Headers& headers = {},
                      BodyLength body = BodyLength::none());

 private:
  friend class ClientExchange;
  friend struct ClientAccess;
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace penstock::http
