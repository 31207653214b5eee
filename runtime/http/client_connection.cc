#include "runtime/http/client_connection.h"

#include <algorithm>
#include <array>
#include <boost/asio/error.hpp>
#include <boost/beast/http/error.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <boost/system/system_error.hpp>

namespace penstock::http {
namespace {

namespace beast_http = boost::beast::http;
using boost::system::error_code;

constexpr std::size_t kRead = 8 * 1024;
// Interim answers before the final one.
constexpr int kInterim = 8;

net::Socket connect(const CallTarget& target, const ClientOptions& options) {
  std::vector<net::Endpoint> endpoints;
  try {
    endpoints = net::resolve(target.host, target.port);
  } catch (const boost::system::system_error& e) {
    throw CallError("resolve " + target.host + ": " + e.code().message());
  }
  error_code ec = boost::asio::error::host_not_found;
  for (const net::Endpoint& endpoint : endpoints) {
    net::Socket socket = net::Socket::connect(endpoint, options.connect_timeout, ec);
    if (!ec) return socket;
  }
  throw CallError("connect to " + target.authority + ": " + ec.message());
}

}  // namespace

ClientConnection::ClientConnection(const CallTarget& target, const ClientOptions& options, SSL_CTX* tls)
    : socket_(connect(target, options)) {
  if (tls != nullptr) tls_ = std::make_unique<TlsStream>(socket_, tls, target.host);
}

void ClientConnection::write(std::string_view head, std::string_view body, error_code& ec) {
  if (tls_) {
    tls_->write(head, ec);
    if (!ec && !body.empty()) tls_->write(body, ec);
    return;
  }
  while (!head.empty() || !body.empty()) {
    std::size_t sent;
    if (body.empty()) {
      sent = socket_.write_some(boost::asio::const_buffer(head.data(), head.size()), ec);
    } else {
      sent = socket_.write_some(std::array{boost::asio::const_buffer(head.data(), head.size()),
                                           boost::asio::const_buffer(body.data(), body.size())},
                                ec);
    }
    if (ec) return;
    const std::size_t of_head = std::min(sent, head.size());
    head.remove_prefix(of_head);
    body.remove_prefix(sent - of_head);
  }
}

void ClientConnection::read(error_code& ec) {
  const auto space = buffer_.prepare(kRead);
  const std::size_t got = tls_ ? tls_->read_some(space.data(), space.size(), ec) : socket_.read_some(space, ec);
  buffer_.commit(got);
  if (got > 0) answered_ = true;
}

Response ClientConnection::exchange(std::string_view head, std::string_view body, bool is_head,
                                    const ClientOptions& options) {
  reusable_ = false;
  answered_ = false;
  error_code write_error;
  write(head, body, write_error);
  // A server that refuses a request may answer and close before it has read all of it: the answer counts.

  for (int interim = 0; interim <= kInterim; ++interim) {
    beast_http::response_parser<beast_http::string_body> parser;
    parser.eager(true);
    parser.header_limit(static_cast<std::uint32_t>(options.max_header_bytes));
    parser.body_limit(options.max_body_bytes);
    if (is_head) parser.skip(true);
    while (!parser.is_done()) {
      error_code ec;
      if (buffer_.size() > 0) {
        buffer_.consume(parser.put(buffer_.data(), ec));
        if (ec && ec != beast_http::error::need_more) throw CallError("malformed answer: " + ec.message());
        if (parser.is_done()) break;
        if (ec && parser.is_header_done() && buffer_.size() > options.max_header_bytes) {
          throw CallError("malformed answer: the head of a chunk is too long");
        }
      }
      read(ec);
      if (!ec) continue;
      if (ec == boost::asio::error::eof && parser.got_some()) {
        parser.put_eof(ec);
        if (!ec && parser.is_done()) break;
        throw CallError("the connection was closed in the middle of an answer");
      }
      if (write_error) throw CallError("send: " + write_error.message());
      throw CallError(ec == boost::asio::error::eof ? "the connection was closed before an answer"
                                                    : "receive: " + ec.message());
    }
    auto& message = parser.get();
    const int status = static_cast<int>(message.result_int());
    if (status == 101) throw CallError("malformed answer: a change of protocol that nobody asked for");
    if (status < 200) continue;

    // What follows an answer is no answer: such a connection is out of step.
    reusable_ = parser.keep_alive() && buffer_.size() == 0 && !write_error;
    Response response;
    response.status = status;
    response.headers.reserve(8);
    for (const auto& field : message) {
      response.headers.emplace_back(std::string(field.name_string()), std::string(field.value()));
    }
    response.body = std::move(message.body());
    return response;
  }
  throw CallError("malformed answer: too many interim ones");
}

}  // namespace penstock::http
