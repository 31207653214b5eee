#pragma once

#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <optional>
#include <string>

#include "penstock/http.h"
#include "runtime/net/socket.h"

namespace penstock::http {

// Reads the requests of one connection, one after the other; what a client sent ahead stays in its buffer.
class RequestReader {
 public:
  using Parser = boost::beast::http::request_parser<boost::beast::http::string_body>;
  using Message = Parser::value_type;

  RequestReader(net::Socket& socket, const ServerOptions& options) : socket_(socket), options_(options) {}

  // Waits for the first byte of a request. False: the client closed or sent nothing in that time.
  enum class First { byte, closed, timeout };
  First wait_first_byte(Duration timeout);

  // Whether the client has sent (some of) a request ahead.
  bool buffered() const { return buffer_.size() != 0; }

  struct Refusal {
    int status;
    std::string why;
  };
  enum class Result {
    request,
    // Not a request that we serve: see refusal(). The connection is of no further use.
    refused,
    // The client went away or stalled in the middle.
    closed,
  };
  // Reads header and body, after wait_first_byte().
  Result read();

  // Valid until the next read().
  Message& message() { return parser_->get(); }
  bool keep_alive() const { return parser_->keep_alive(); }
  const Refusal& refusal() const { return refusal_; }
  // When the latest bytes came.
  Instant arrived() const { return arrived_; }

 private:
  Result refuse(int status, std::string why);
  Result refuse(const boost::system::error_code& ec);
  std::optional<Result> read_header();
  std::optional<Result> check_header();
  std::optional<Result> read_body();
  bool fill(std::size_t bytes, Duration timeout, boost::system::error_code& ec);

  net::Socket& socket_;
  const ServerOptions& options_;
  boost::beast::flat_buffer buffer_;
  std::optional<Parser> parser_;
  Refusal refusal_{};
  Instant arrived_{};
};

}  // namespace penstock::http
