#pragma once

#include <boost/system/error_code.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "penstock/http_client.h"
#include "runtime/http/call_head.h"
#include "runtime/net/socket.h"
#include "runtime/net/tls_stream.h"

namespace penstock::http {

class ResponseParser;

// Interim answers (1xx) that may come before the final one.
inline constexpr int kInterimAnswers = 8;

// Where a connection goes.
struct ConnectTo {
  std::string_view host;
  std::uint16_t port;
  // Empty: none.
  const std::string& unix_socket;
  // As errors name it.
  const std::string& name;
};

// One connection to a server, for one call at a time: begin(), send(), receive(). Belongs to the thread that made it.
// Members throw CallError (begun with the server's name), DeadlineExceeded, Cancelled; the connection is of no further
// use then. Between two calls, and while it waits for the first byte of an answer, it holds no buffers but for small
// ones.
class ClientConnection {
 public:
  // Resolves, connects to the first address that answers, and shakes hands when `tls` is given, all within
  // connect_timeout. `to.name` and `tls` outlive it.
  ClientConnection(const ConnectTo& to, const ClientOptions& options, net::TlsClientContext* tls);

  // Writes down the head of a request; it is sent with what comes first.
  void begin(const CallHead& head);
  // False: the server takes no more. What it said before may be received nevertheless.
  bool send(std::string_view body);
  bool send_chunk(std::string_view piece);
  bool send_last_chunk(const Headers& trailers);
  // Sends a head that is held back.
  bool flush() { return out_.empty() || send({}); }

  // Reads until the whole of an answer has come.
  Response receive(bool is_head, const ClientOptions& options);

  // One step: takes what has come before, or else reads once, into `room` when it is given. Returns with the parser
  // advanced, in its end, or at the end of its room.
  void advance(ResponseParser& parser, char* room = nullptr, std::size_t size = 0);
  // Settles whether it can carry another call.
  void end(ResponseParser& parser);

  bool reusable() const { return reusable_; }
  // Whether anything of the present request has been sent, and of its answer received.
  bool sent_any() const { return sent_any_; }
  bool answered() const { return answered_; }
  // Whether the server has closed it, or sent something unasked.
  bool stale();
  // Whether the server was found to have sent something unasked, be it behind an answer.
  bool unasked() const { return unasked_; }

  // Out of line, for the sake of the stacks of those that do not fail.
  [[noreturn, gnu::noinline]] void fail(std::string_view what) const;
  [[noreturn, gnu::noinline]] void fail(std::string_view what, std::string_view why) const;
  [[noreturn, gnu::noinline]] void fail(std::string_view what, const boost::system::error_code& why) const;

  Instant idle_since{};

 private:
  bool write(std::string_view a, std::string_view b, std::string_view c);
  std::size_t read(char* data, std::size_t size, ResponseParser& parser);
  std::size_t take_read(std::size_t got, boost::system::error_code ec, ResponseParser& parser);
  // Parses, and keeps what is left for the next step.
  void keep(ResponseParser& parser, const char* data, std::size_t size);
  std::size_t parse(ResponseParser& parser, const char* data, std::size_t size);
  // Of what is ahead.
  void consume(std::size_t bytes);
  std::string_view ahead() const { return std::string_view(ahead_).substr(ahead_at_); }

  const std::string& name_;
  net::Socket socket_;
  std::unique_ptr<net::TlsStream> tls_;
  // The head of a request until it is sent.
  std::string out_;
  // Received and not yet parsed, from ahead_at_.
  std::string ahead_;
  std::size_t ahead_at_ = 0;
  std::size_t max_header_bytes_;
  boost::system::error_code write_error_;
  bool sent_any_ = false;
  bool answered_ = false;
  bool reusable_ = false;
  bool unasked_ = false;
};

}  // namespace penstock::http
