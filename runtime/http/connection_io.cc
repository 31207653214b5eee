#include <spdlog/spdlog.h>
#include <sys/uio.h>

#include <algorithm>
#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <new>
#include <utility>

#include "runtime/http/connection.h"
#include "runtime/net/proxy_header_reader.h"

// What a connection receives and sends.
namespace penstock::http {
namespace {

using boost::system::error_code;

// What a client sends after the last word to it: beyond, the connection is reset.
constexpr std::uint32_t kLingerBytes = 1024 * 1024;

bool would_block(const error_code& ec) { return ec == boost::asio::error::would_block; }

}  // namespace

void Connection::collect_header() noexcept {
  error_code ec;
  const std::size_t n = socket().try_read(thread_.received.get(), ServerThread::kReceive, ec);
  if (would_block(ec)) return;
  // A client that left may still be answered.
  if (ec) return start();
  const std::size_t before = own_.size() - std::min<std::size_t>(own_.size(), 3);
  try {
    append_input(thread_.received.get(), n);
  } catch (const std::bad_alloc&) {
    return close();
  }
  // Complete, or too long: for the parser to say.
  if (own_.find("\r\n\r\n", before) != own_.npos || own_.size() > options().max_header_bytes) start();
}

void Connection::discard() noexcept {
  while (true) {
    error_code ec;
    const std::size_t n = socket().try_read(thread_.received.get(), ServerThread::kReceive, ec);
    if (would_block(ec)) return;
    discarded_ += static_cast<std::uint32_t>(n);
    if (ec || discarded_ > kLingerBytes) return close();
    if (!socket().readable()) return;
  }
}

bool Connection::has_input() { return socket().readable() || (secure_ && secure_->tls.pending()); }

void Connection::learn_peer() {
  const ServerThread::Handshake handshake(thread_);
  error_code ec;
  const net::ProxyHeader header = net::read_proxy_header(socket(), options().header_timeout, ec);
  if (ec) {
    thread_.server.failed_proxy_headers->add();
    spdlog::debug("PROXY header from {}: {}", peer_.to_string(), *header.why != '\0' ? header.why : ec.message());
    throw Cancelled("no PROXY header");
  }
  if (header.source) peer_ = *header.source;
}

void Connection::shake_hands() {
  const ServerThread::Handshake handshake(thread_);
  secure_ = std::make_unique<Secure>(std::move(socket_), *thread_.server.tls);
  try {
    secure_->tls.handshake(options().header_timeout);
  } catch (const net::TlsError& e) {
    thread_.server.failed_handshakes->add();
    spdlog::debug("{} from {}", e.what(), peer_.to_string());
    throw Cancelled("no TLS");
  }
}

// --- input

void Connection::keep_input() {
  if (input_.empty()) {
    own_.clear();
    input_ = {};
    return;
  }
  if (owns_input()) {
    own_.erase(0, static_cast<std::size_t>(input_.data() - own_.data()));
  } else {
    own_.assign(input_);
  }
  input_ = own_;
}

void Connection::append_input(const char* data, std::size_t size) {
  own_.append(data, size);
  input_ = own_;
}

void Connection::receive_now(error_code& ec) {
  const std::size_t n = socket().try_read(thread_.received.get(), ServerThread::kReceive, ec);
  if (!ec) input_ = {thread_.received.get(), n};
}

void Connection::receive(Duration timeout, error_code& ec) {
  keep_input();
  stream().set_io_timeout(timeout);
  // Nothing waits between the system call and here.
  const std::size_t n = stream().read_some(boost::asio::buffer(thread_.received.get(), ServerThread::kReceive), ec);
  if (ec) return;
  if (own_.empty()) {
    input_ = {thread_.received.get(), n};
  } else {
    append_input(thread_.received.get(), n);
  }
}

// --- output

std::string& Connection::shared_text() {
  static thread_local std::string text;
  text.clear();
  return text;
}

bool Connection::send(std::string_view head, std::string_view body) {
  error_code ec;
  std::size_t sent = 0;
  if (!secure_) {
    const iovec parts[] = {{const_cast<char*>(head.data()), head.size()},
                           {const_cast<char*>(body.data()), body.size()}};
    sent = socket_.try_write_parts(parts, body.empty() ? 1 : 2, ec);
    if (ec && !would_block(ec)) return false;
    if (sent == head.size() + body.size()) return true;
  }
  const auto took = [&](std::size_t n) {
    const std::size_t of_head = std::min(n, head.size());
    head.remove_prefix(of_head);
    body.remove_prefix(n - of_head);
  };
  took(sent);
  const std::string rest(head);
  head = rest;
  keep_shared_input();
  stream().set_io_timeout(options().io_timeout);
  while (!head.empty() || !body.empty()) {
    took(stream().write_some(std::array{boost::asio::const_buffer(head.data(), head.size()),
                                        boost::asio::const_buffer(body.data(), body.size())},
                             ec));
    if (ec) return false;
  }
  return true;
}

}  // namespace penstock::http
