#include "penstock/http_exchange.h"

#include <algorithm>
#include <array>
#include <boost/asio/error.hpp>
#include <chrono>
#include <stdexcept>
#include <utility>

#include "penstock/fiber.h"
#include "penstock/http_server.h"
#include "runtime/http/exchange_state.h"
#include "runtime/http/server_state.h"
#include "runtime/registry.h"

namespace penstock::http {
namespace {

using boost::system::error_code;

// What an answer in pieces collects before it is sent; and up to which size a piece is copied for that.
constexpr std::size_t kPending = kShortBody;
// What a body may be while memory is short: no more than the header was.
constexpr std::uint64_t kSmallBody = 16 * 1024;
// The slowest that a body may come on average, after body_timeout.
constexpr std::uint64_t kBytesPerSecond = 16 * 1024;

}  // namespace

// --- the request's body

void Exchange::State::send_continue() {
  if (std::exchange(continue_sent, true) || !parser.expects_continue() || !connection.input().empty()) return;
  send("HTTP/1.1 100 Continue\r\n\r\n");
}

void Exchange::State::refuse_body(int code, const std::string& why) {
  close = true;
  connection.thread().server.note_left(connection.peer(), std::to_string(code) + ", " + why);
  throw RequestError(code, why);
}

void Exchange::State::receive_body(Duration timeout) {
  error_code ec;
  connection.receive(std::min<Duration>(timeout, connection.options().io_timeout), ec);
  if (!ec) return;
  if (ec == boost::asio::error::timed_out) refuse_body(408, "the body took too long");
  close = true;
  connection.set_client_left();
  connection.thread().server.note_left(connection.peer(), "left in the middle of its request");
  throw Cancelled("the client left in the middle of its request");
}

bool Exchange::State::parse_body() {
  const Parsed parsed = parser.put_body(connection.input());
  connection.consume(parsed.used);
  if (parsed.error == ParseError::none) return false;
  if (parsed.error == ParseError::need_more) return true;
  const Refusal refusal = parser.refusal(parsed.error);
  refuse_body(refusal.status, refusal.why);
}

void Exchange::State::check_rest() {
  // The head of a chunk is as bounded as a header is.
  if (connection.input().size() > connection.options().max_header_bytes) {
    refuse_body(400, "a chunk's extensions are too long");
  }
}

// Bodies are read before their requests come to the node's door, and however many there are.
void Exchange::State::check_memory() {
  if (!connection.options().admission || route->auxiliary) return;
  Registry& registry = connection.thread().server.registry;
  NodeDoor& door = registry.door();
  const std::uint64_t size = std::max<std::uint64_t>(parser.content_length().value_or(0), request.body.size());
  if (told_of_memory || size <= kSmallBody || !door.short_of_memory()) return;
  priority = registry.route(request.path).priority;
  // Where it only observes, once counts.
  told_of_memory = door.refuse_for_memory(priority);
}

void Exchange::State::read_body() {
  if (parser.is_done()) return;
  check_memory();
  send_continue();
  parser.append_to(&request.body);
  const Instant begun = std::chrono::steady_clock::now();
  const auto receive_more = [&] {
    const Duration granted =
        connection.options().body_timeout + std::chrono::seconds(request.body.size() / kBytesPerSecond);
    const Duration left = begun + granted - std::chrono::steady_clock::now();
    if (left <= Duration::zero()) refuse_body(408, "the body took too long");
    receive_body(left);
  };
  while (!parser.is_done()) {
    if (connection.input().empty()) receive_more();
    if (!parse_body()) continue;
    check_rest();
    check_memory();
    receive_more();
  }
}

std::string_view Exchange::State::read_piece() {
  if (const auto length = parser.content_length(); length && *length > body_limit) {
    refuse_body(413, "the body is too large");
  }
  send_continue();
  parser.append_to(nullptr);
  parser.forget_piece();
  while (!parser.is_done() && parser.piece().empty()) {
    if (connection.input().empty()) receive_body(connection.options().io_timeout);
    // The piece is shown to the handler, which may wait.
    connection.keep_input();
    if (!parse_body() || !parser.piece().empty()) continue;
    check_rest();
    receive_body(connection.options().io_timeout);
  }
  return parser.piece();
}

// --- the answer

void Exchange::State::send(std::string_view head, std::string_view body) {
  if (connection.send(head, body)) return;
  close = true;
  connection.thread().server.note_left(connection.peer(), "has left before its answer, or does not read it");
  throw Cancelled("the client does not read its answer");
}

void Exchange::State::start(int code, const Headers& headers, std::optional<std::uint64_t> length) {
  if (started) throw std::logic_error("an answer was started twice");
  if (const std::string why = why_unsound(code, headers); !why.empty()) {
    throw std::invalid_argument("a response with " + why);
  }
  started = true;
  status = code;
  // RFC 9110, 15.3.6: a 205 has a body, which is empty.
  const bool may_have_body = status_has_body(code) && code != 205;
  with_body = may_have_body && request.head.method() != "HEAD";
  if (!may_have_body) {
    framing = code == 205 ? Framing{Framing::length, 0} : Framing{};
  } else if (length) {
    framing = {Framing::length, *length};
  } else if (parser.http_version() == 11) {
    framing = {Framing::chunked};
  } else {
    framing = {Framing::until_close};
    close = true;
  }
  for (const auto& [name, value] : headers) {
    if (same_token(name, "Connection") && list_has(value, "close")) close = true;
  }
  append_head(pending, code, headers, framing, persistence());
}

void Exchange::State::write(std::string_view data) {
  if (!started || finished) throw std::logic_error("write() outside of an answer");
  if (data.empty()) return;
  written += data.size();
  if (status == 205) return;
  if (framing.kind == Framing::length && written > framing.bytes) {
    close = true;
    throw std::logic_error("an answer longer than was announced");
  }
  if (!with_body) return;
  const bool chunked = framing.kind == Framing::chunked;
  if (chunked) append_chunk_size(pending, data.size());
  if (data.size() < kPending) {
    pending += data;
    if (chunked) pending += "\r\n";
    if (pending.size() >= kPending) flush();
    return;
  }
  send(pending, data);
  pending.clear();
  if (chunked) pending += "\r\n";
}

void Exchange::State::flush() {
  if (pending.empty()) return;
  send(pending);
  pending.clear();
}

void Exchange::State::finish(const Headers& trailers) {
  if (!started) throw std::logic_error("finish() before start()");
  if (finished) return;
  if (framing.kind == Framing::length && written < framing.bytes && with_body) {
    close = true;
    throw std::logic_error("an answer shorter than was announced");
  }
  if (!trailers.empty()) {
    if (framing.kind == Framing::length || framing.kind == Framing::none) {
      throw std::logic_error("trailers need a chunked body");
    }
    if (const std::string why = why_unsound(200, trailers); !why.empty()) {
      throw std::invalid_argument("trailers with " + why);
    }
  }
  finished = true;
  if (framing.kind == Framing::chunked && with_body) {
    pending += "0\r\n";
    for (const auto& [name, value] : trailers) {
      if (!is_framing_header(name)) append_field(pending, name, value);
    }
    pending += "\r\n";
  }
  flush();
}

void Exchange::State::respond(const Response& response) {
  const std::string_view content = response.content();
  start(response.status, response.headers, content.size());
  finished = true;
  written = with_body ? content.size() : 0;
  // One write; a body is copied only where that is cheaper than a second part.
  if (!with_body) {
    send(pending);
  } else if (content.size() <= kShortBody) {
    pending += content;
    send(pending);
  } else {
    send(pending, content);
  }
  pending.clear();
}

std::unique_ptr<net::Stream> Exchange::State::upgrade(const Headers* headers) {
  if (started) throw std::logic_error("an upgrade after the answer was started");
  if (!parser.is_done()) throw std::logic_error("an upgrade of a request whose body was not read");
  started = finished = true;
  status = 101;
  if (headers != nullptr) {
    if (const std::string why = why_unsound(200, *headers); !why.empty()) {
      throw std::invalid_argument("an upgrade with " + why);
    }
    append_upgrade(pending, *headers);
    flush();
  }
  handed_over = true;
  auto stream = connection.hand_over();
  end_request();
  return stream;
}

// --- what handlers see

const Request& Exchange::request() const { return state_->view; }
std::string_view Exchange::read() { return state_->read_piece(); }
void Exchange::limit_body(std::uint64_t bytes) {
  state_->body_limit = bytes;
  state_->parser.body_limit(bytes);
}
const Headers& Exchange::trailers() const { return state_->parser.trailers(); }
void Exchange::start(int status, const Headers& headers, std::optional<std::uint64_t> length) {
  state_->start(status, headers, length);
}
void Exchange::write(std::string_view data) { state_->write(data); }
void Exchange::flush() { state_->flush(); }
void Exchange::finish(const Headers& trailers) { state_->finish(trailers); }
void Exchange::respond(const Response& response) { state_->respond(response); }
bool Exchange::started() const { return state_->started; }
std::unique_ptr<net::Stream> Exchange::upgrade(const Headers& headers) { return state_->upgrade(&headers); }
std::unique_ptr<net::Stream> Exchange::take_over() { return state_->upgrade(nullptr); }

}  // namespace penstock::http
