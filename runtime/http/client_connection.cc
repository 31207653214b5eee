#include "runtime/http/client_connection.h"

#include <algorithm>
#include <array>
#include <boost/asio/error.hpp>
#include <boost/system/system_error.hpp>
#include <chrono>
#include <utility>

#include "runtime/fiber/scheduler.h"
#include "runtime/http/message.h"
#include "runtime/http/response_parser.h"
#include "runtime/net/connect.h"

namespace penstock::http {
namespace {

using boost::system::error_code;

// What a read takes at most; of an encrypted connection, which needs memory of its own for it.
constexpr std::size_t kRead = 64 * 1024;
constexpr std::size_t kTlsRead = 8 * 1024;
// What an idle connection may keep of each of its buffers.
constexpr std::size_t kKeep = 1024;

// A thread's connections read into it by turns.
char* read_buffer() {
  static thread_local const std::unique_ptr<char[]> buffer(new char[kRead]);
  return buffer.get();
}

net::Socket connect(const ConnectTo& to, Duration timeout) {
  try {
    return net::connect(to.unix_socket.empty() ? to.host : to.unix_socket, to.port, {.timeout = timeout});
  } catch (const boost::system::system_error& e) {
    throw CallError(e.what());
  }
}

}  // namespace

ClientConnection::ClientConnection(const ConnectTo& to, const ClientOptions& options, net::TlsClientContext* tls)
    : name_(to.name), max_header_bytes_(options.max_header_bytes) {
  const Instant until = std::chrono::steady_clock::now() + options.connect_timeout;
  socket_ = connect(to, options.connect_timeout);
  if (tls == nullptr) return;
  try {
    tls_ = std::make_unique<net::TlsStream>(socket_, *tls, std::string(to.host));
    tls_->handshake(until - std::chrono::steady_clock::now());
  } catch (const net::TlsError& e) {
    throw CallError("tls handshake with " + name_ + ": " + e.what());
  }
}

void ClientConnection::fail(std::string_view what) const { throw CallError(name_ + ": " + std::string(what)); }

void ClientConnection::fail(std::string_view what, std::string_view why) const { fail(std::string(what).append(why)); }

void ClientConnection::fail(std::string_view what, const error_code& why) const { fail(what, why.message()); }

void ClientConnection::begin(const CallHead& head) {
  write_error_ = {};
  sent_any_ = answered_ = reusable_ = false;
  out_.clear();
  append_call_head(out_, head);
}

bool ClientConnection::send(std::string_view body) {
  const bool sent = write(out_, body, {});
  out_.clear();
  return sent;
}

bool ClientConnection::send_chunk(std::string_view piece) {
  append_chunk_size(out_, piece.size());
  const bool sent = write(out_, piece, "\r\n");
  out_.clear();
  return sent;
}

bool ClientConnection::send_last_chunk(const Headers& trailers) {
  out_ += "0\r\n";
  append_fields(out_, trailers);
  out_ += "\r\n";
  return send({});
}

bool ClientConnection::write(std::string_view a, std::string_view b, std::string_view c) {
  if (write_error_) return false;
  net::Stream& stream = tls_ ? static_cast<net::Stream&>(*tls_) : socket_;
  std::array<iovec, 3> parts;
  for (;;) {
    int count = 0;
    for (const std::string_view part : {a, b, c}) {
      // Only read from.
      if (!part.empty()) parts[static_cast<std::size_t>(count++)] = {const_cast<char*>(part.data()), part.size()};
    }
    if (count == 0) return true;
    std::size_t sent = stream.write_parts(parts.data(), count, write_error_);
    if (write_error_) return false;
    sent_any_ = true;
    for (std::string_view* part : {&a, &b, &c}) {
      const std::size_t of_part = std::min(sent, part->size());
      part->remove_prefix(of_part);
      sent -= of_part;
    }
  }
}

std::size_t ClientConnection::read(char* data, std::size_t size, ResponseParser& parser) {
  error_code ec;
  const iovec part{data, size};
  const std::size_t got = tls_ ? tls_->read_parts(&part, 1, ec) : socket_.read_parts(&part, 1, ec);
  return take_read(got, ec, parser);
}

std::size_t ClientConnection::take_read(std::size_t got, error_code ec, ResponseParser& parser) {
  if (!ec) {
    answered_ = true;
    return got;
  }
  if (ec == boost::asio::error::eof && parser.got_some()) {
    if (parser.put_end() == ParseError::none) return 0;
    fail("the connection was closed in the middle of an answer");
  }
  if (write_error_) fail("send: ", write_error_);
  if (ec == boost::asio::error::eof) fail("the connection was closed before an answer");
  fail(parser.got_some() ? "receive in the middle of an answer: " : "receive: ", ec);
}

std::size_t ClientConnection::parse(ResponseParser& parser, const char* data, std::size_t size) {
  const Parsed parsed = parser.put({data, size});
  switch (parsed.error) {
    case ParseError::none:
    case ParseError::need_room:
      break;
    case ParseError::need_more:
      if (parser.is_header_done() && size - parsed.used > max_header_bytes_) {
        fail("malformed answer: the head of a chunk is too long");
      }
      break;
    default:
      fail("malformed answer: ", to_string(parsed.error));
  }
  return parsed.used;
}

void ClientConnection::keep(ResponseParser& parser, const char* data, std::size_t size) {
  const std::size_t used = parse(parser, data, size);
  if (used < size) ahead_.assign(data + used, size - used);
}

void ClientConnection::advance(ResponseParser& parser, char* room, std::size_t size) {
  if (!ahead().empty()) {
    const std::size_t used = parse(parser, ahead().data(), ahead().size());
    consume(used);
    if (used > 0 || parser.is_done()) return;
  }
  if (ahead().empty() && !tls_ && room == nullptr) {
    fiber::Scheduler::current()->breathe();
    const iovec part{read_buffer(), kRead};
    error_code ec;
    std::size_t got;
    // Between a read and the end of its parsing nothing waits: the buffer is the thread's.
    for (;;) {
      socket_.wait_readable(ec);
      got = ec ? 0 : socket_.try_read_parts(&part, 1, ec);
      if (ec != boost::asio::error::would_block) break;
    }
    got = take_read(got, ec, parser);
    keep(parser, read_buffer(), got);
    return;
  }
  if (ahead().empty() && room != nullptr) {
    keep(parser, room, read(room, size, parser));
    return;
  }
  ahead_.erase(0, std::exchange(ahead_at_, 0));
  const std::size_t before = ahead_.size();
  ahead_.resize(before + kTlsRead);
  std::size_t got = 0;
  try {
    got = read(ahead_.data() + before, kTlsRead, parser);
  } catch (...) {
    ahead_.clear();
    throw;
  }
  ahead_.resize(before + got);
  consume(parse(parser, ahead_.data(), ahead_.size()));
}

void ClientConnection::consume(std::size_t bytes) {
  ahead_at_ += bytes;
  if (ahead_at_ < ahead_.size()) return;
  ahead_.clear();
  ahead_at_ = 0;
}

void ClientConnection::end(ResponseParser& parser) {
  // What follows an answer is no answer: such a connection is out of step.
  unasked_ = !ahead().empty();
  reusable_ = parser.keep_alive() && !unasked_ && !write_error_;
  ahead_at_ = 0;
  ahead_.clear();
  if (ahead_.capacity() > kKeep) ahead_.shrink_to_fit();
  if (out_.capacity() > kKeep) std::string().swap(out_);
}

bool ClientConnection::stale() {
  if (!(tls_ ? tls_->stale() : socket_.stale())) return false;
  char byte;
  error_code ec;
  unasked_ = tls_ ? tls_->pending() : socket_.try_peek(&byte, 1, ec) > 0;
  return true;
}

Response ClientConnection::receive(bool is_head, const ClientOptions& options) {
  Response response;
  Headers trailers;
  for (int interim = 0; interim <= kInterimAnswers; ++interim) {
    ResponseParser parser(response, trailers, ResponseParser::Body::whole);
    parser.header_limit(options.max_header_bytes);
    parser.body_limit(options.max_body_bytes);
    if (is_head) parser.skip_body();
    while (!parser.is_done()) advance(parser);
    if (response.status == 101) fail("malformed answer: a change of protocol that nobody asked for");
    if (response.status >= 200) {
      end(parser);
      return response;
    }
    response.headers.clear();
  }
  fail("malformed answer: too many interim ones");
}

}  // namespace penstock::http
