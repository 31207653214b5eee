#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

#include "penstock/http_message.h"
#include "penstock/stream.h"

namespace penstock::http {

class Connection;

// A received request. Views are valid for the life of the handler's call.
class Request {
 public:
  std::string_view method() const;
  // As received: path and query; without control characters and spaces, but otherwise any bytes.
  std::string_view target() const;
  // Without the query, neither decoded nor freed from "//" and "..": what maps it to files has to look after that.
  std::string_view path() const;
  // Decoded value of a query parameter; unset when absent.
  std::optional<std::string> query(std::string_view name) const;
  // Decoded value of a path parameter, for a route such as "/orders/{id}"; empty when the route has none of that name.
  // It may hold anything, "/" and "?" too: percent_encode() it in URLs.
  std::string_view param(std::string_view name) const;
  // Case-insensitive; empty when absent.
  std::string_view header(std::string_view name) const;
  Headers headers() const;
  // Empty in an Exchange, which reads it.
  std::string_view body() const;
  // The client's address, "ip:port".
  std::string_view peer() const;
  // Whether it came by TLS; and the common name in the client's verified certificate, empty without one.
  bool secure() const;
  std::string certificate_name() const;
  // The 32 hexadecimal digits of the trace that a valid header "traceparent" names; empty without.
  std::string_view trace_id() const;

 private:
  friend class Exchange;
  struct State;
  explicit Request(State& state) : state_(&state) {}
  State* state_;
};

// Answers the request with that status and a text. Thrown by handlers, and by reads of a body that is malformed (400),
// too large (413) or too slow (408).
class RequestError : public std::runtime_error {
 public:
  RequestError(int status, const std::string& what) : std::runtime_error(what), status_(status) {}
  int status() const noexcept { return status_; }

 private:
  int status_;
};

// One request and its answer, both in pieces. Belongs to its handler's fiber, and ends with the handler's call.
//
// Waits throw DeadlineExceeded and Cancelled, the latter also when the client has left.
class Exchange {
 public:
  const Request& request() const;

  // The next piece of the body, valid until the next call; empty at its end. Waits: a client that sends faster than the
  // handler reads is held up by TCP. The first read sends "100 Continue" if the client waits for that. Throws
  // RequestError.
  std::string_view read();
  // How many bytes of body read() takes, instead of ServerOptions::max_body_bytes; before the first read.
  void limit_body(std::uint64_t bytes);
  // Of a chunked body, after its end.
  const Headers& trailers() const;

  // Sends the header with what comes next. With `length`, that many bytes have to follow; without, the body is chunked
  // (to HTTP/1.0: ends with the connection). Headers that frame the message are ours. Throws std::logic_error when
  // called twice, std::invalid_argument for a malformed status or header.
  void start(int status, const Headers& headers = {}, std::optional<std::uint64_t> length = std::nullopt);
  // Collects some kilobytes before it sends. Waits while the client does not read. Throws std::logic_error before
  // start() and beyond the length.
  void write(std::string_view data);
  // Sends what was collected.
  void flush();
  // Ends the answer. Trailers need a chunked body, else std::logic_error; a client of HTTP/1.0 does not get them. Also
  // done at the end of the handler.
  void finish(const Headers& trailers = {});
  // All of it at once.
  void respond(const Response& response);
  bool started() const;

  // Answers 101 with "Connection: Upgrade" and these headers, and hands the connection over, with what the client has
  // sent since. The request is over then, and counted: the handler may go on for as long as the connection lasts,
  // without a place in the pool, a deadline or an account. To be called outside of DeadlineScopes of its own. The
  // stream belongs to this thread, and may outlive the handler; while that runs, a drain waits for it.
  std::unique_ptr<net::Stream> upgrade(const Headers& headers);
  // The same without an answer, for libraries that write it themselves.
  std::unique_ptr<net::Stream> take_over();

 private:
  friend class Connection;
  struct State;
  explicit Exchange(State& state) : state_(&state) {}
  State* state_;
};

}  // namespace penstock::http
