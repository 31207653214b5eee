#include "runtime/http/connection.h"

#include <spdlog/spdlog.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <boost/asio/error.hpp>
#include <charconv>
#include <exception>
#include <new>
#include <utility>

#include "penstock/fiber.h"
#include "runtime/fiber/scheduler.h"
#include "runtime/http/exchange_state.h"
#include "runtime/http/request_parser.h"
#include "runtime/http/request_target.h"
#include "runtime/http/server_state.h"

namespace penstock::http {
namespace {

using boost::system::error_code;

// Requests that one connection may have served before others have their turn.
constexpr int kRequestsInTurn = 16;
// Bytes of the empty lines that may come before a request.
constexpr int kMostBlanks = 16;
// Runs at least this long may have to be told of.
constexpr auto kLongRun = std::chrono::milliseconds(5);

}  // namespace

void Connection::open(ServerThread& thread, net::Socket socket, net::Endpoint peer, ServerState::Place place) {
  auto* connection = new Connection(thread, std::move(socket), std::move(peer), std::move(place));
  // Most clients have sent their request by now, and the reactor may have told of it before anybody observed.
  connection->start();
}

Connection::Connection(ServerThread& thread, net::Socket socket, net::Endpoint peer, ServerState::Place place)
    : thread_(thread),
      place_(std::move(place)),
      socket_(std::move(socket)),
      peer_(std::move(peer)),
      since_(fiber::cached_now()),
      waits_since_(since_) {
  thread_.enter(*this, Stage::fresh);
  socket_.observe(this);
}

Connection::~Connection() {
  socket().observe(nullptr);
  // With TLS's own end, where an answer may have no other.
  stream().close();
  thread_.leave(*this);
}

// --- without a fiber

void Connection::start() noexcept {
  thread_.move(*this, Stage::active);
  fiber::Scheduler::current()->start(*this);
}

void Connection::on_readable(bool left) noexcept {
  switch (stage_) {
    case Stage::fresh:
    case Stage::idle:
      return start();
    case Stage::partial:
      return secure_ ? start() : collect_header();
    case Stage::active:
      if (left) check_hangup();
      return;
    case Stage::lingering:
      return discard();
  }
}

void Connection::check_hangup() noexcept {
  if (watching_ == nullptr || !(secure_ ? secure_->tls.peer_closed() : socket().hung_up())) return;
  client_left_ = true;
  fiber::cancel(*watching_);
}

void Connection::expire() noexcept {
  if (stage_ == Stage::idle || stage_ == Stage::lingering) return close();
  expired_ = true;
  start();
}

// Without a fiber there are neither TLS nor a PROXY header to be read; without memory, at least this is said.
void Connection::refused(std::exception_ptr) noexcept {
  constexpr std::string_view kRefusal =
      "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 10\r\nConnection: close\r\n\r\nno "
      "memory\n";
  const bool plain = !thread_.server.tls && (!options().proxy_protocol || peer_known_);
  if (!plain || expired_ || thread_.draining || thread_.closing) return close();
  if (own_.empty()) {
    error_code ec;
    receive_now(ec);
    // Nothing is lost yet.
    if (ec == boost::asio::error::would_block) return park(Stage::idle);
    if (ec) return close();
  }
  try {
    thread_.metrics(nullptr).finished(503, decision::Priority::normal, Duration::zero());
  } catch (const std::bad_alloc&) {
  }
  const iovec part = {const_cast<char*>(kRefusal.data()), kRefusal.size()};
  error_code ec;
  if (socket().try_write_parts(&part, 1, ec) != kRefusal.size()) return close();
  linger();
}

void Connection::describe(fiber::TaskName& name) const noexcept {
  name += "http ";
  name += peer_.host;
  if (peer_.port != 0) {
    std::array<char, 8> port;
    const auto end = std::to_chars(port.data(), port.data() + port.size(), peer_.port).ptr;
    name += ":";
    name += std::string_view(port.data(), static_cast<std::size_t>(end - port.data()));
  }
  if (serving_ == nullptr) return;
  name += " ";
  name += serving_->method();
  name += " ";
  // Without the query, which may hold what logs should not.
  name += path_of(serving_->target());
}

// --- as a fiber

void Connection::run() noexcept {
  Next next;
  do {
    next = serve();
  } while (next == Next::again);
  // Told of while it has a name: what follows may be its end.
  fiber::Scheduler& scheduler = *fiber::Scheduler::current();
  if (scheduler.recent() - scheduler.running().since >= kLongRun) scheduler.settle_account(scheduler.running());
  switch (next) {
    case Next::again:
    case Next::park:
      return park(Stage::idle);
    case Next::incomplete:
      return park(Stage::partial);
    case Next::linger:
      return linger();
    case Next::close:
      // What has come and was not read would make it a reset, which may take the answer with it.
      return !client_left_ && (!input_.empty() || socket().readable()) ? linger() : close();
  }
}

void Connection::linger() noexcept {
  if (thread_.closing) return close();
  try {
    stream().shutdown_send();
  } catch (const std::exception&) {
    return close();
  }
  thread_.move(*this, Stage::lingering);
  discard();
}

Connection::Next Connection::serve() noexcept {
  try {
    return serve_next();
  } catch (const Cancelled&) {
  } catch (const DeadlineExceeded&) {
  } catch (const std::exception& e) {
    log_failure(e);
  }
  return Next::close;
}

void Connection::log_failure(const std::exception& e) const noexcept {
  // Without an allocation: it may be that there is no memory.
  fiber::TaskName name;
  describe(name);
  spdlog::error("connection '{}' is closed: {}", name.view(), e.what());
}

Connection::Next Connection::serve_next() {
  if (input_.empty()) {
    const Next nothing = thread_.draining || thread_.closing ? Next::close : Next::park;
    if (!expired_) {
      if (!has_input()) return nothing;
      if (options().proxy_protocol && !std::exchange(peer_known_, true)) learn_peer();
      error_code ec;
      if (thread_.server.tls) {
        if (!secure_) shake_hands();
        if (!secure_->tls.stale()) {
          // Parts of a record, or what is no data: each sets its stage's clock anew.
          const Duration patience = had_request_ ? options().idle_timeout : options().header_timeout;
          if (fiber::cached_now() - waits_since_ < patience) return nothing;
          return had_request_ ? Next::close : refuse(408, "no request came");
        }
        receive(options().header_timeout, ec);
      } else {
        receive_now(ec);
      }
      if (ec == boost::asio::error::would_block) return nothing;
      if (ec) {
        client_left_ = true;
        return Next::close;
      }
    }
  }
  if (expired_ && options().proxy_protocol && !peer_known_) {
    thread_.server.failed_proxy_headers->add();
    return Next::close;
  }
  if (expired_ && thread_.server.tls && !secure_) {
    thread_.server.failed_handshakes->add();
    return Next::close;
  }
  if (expired_) return refuse(408, !own_.empty() ? "the header took too long" : "no request came");
  // An empty line before a request (RFC 9112, 2.2).
  while (!input_.empty() && (input_.front() == '\r' || input_.front() == '\n')) {
    if (++blanks_ > kMostBlanks) return refuse(400, "empty lines instead of a request");
    consume(1);
  }
  if (input_.empty()) return Next::again;

  RequestParser parser(options().max_header_bytes);
  const Parsed head = parser.put_head(input_);
  if (head.error == ParseError::need_more) {
    if (header_began_ == Instant{}) header_began_ = fiber::cached_now();
    const Duration left = header_began_ + options().header_timeout - fiber::cached_now();
    if (left <= Duration::zero()) return refuse(408, "the header took too long");
    if (!has_input()) {
      keep_input();
      return Next::incomplete;
    }
    error_code failed;
    receive(left, failed);
    if (failed == boost::asio::error::timed_out) return refuse(408, "the header took too long");
    return failed ? left_early() : Next::again;
  }
  if (head.error != ParseError::none) return refuse(parser.refusal(head.error));
  consume(head.used);
  header_began_ = {};
  had_request_ = true;
  blanks_ = 0;
  int status;
  if (const char* wrong = parser.check_framing(status)) return refuse(status, wrong);

  const Next next = Exchange::State(*this, parser).serve();
  waits_since_ = fiber::cached_now();
  if (next != Next::again || ++served_ % kRequestsInTurn != 0) return next;
  keep_input();
  penstock::yield();
  return next;
}

Connection::Next Connection::left_early() {
  client_left_ = true;
  thread_.metrics(nullptr).finished(kClientLeft, decision::Priority::normal, Duration::zero());
  thread_.server.note_left(peer_, "left in the middle of a header");
  return Next::close;
}

Connection::Next Connection::refuse(int status, const char* why) { return refuse({status, why}); }

// Answers what is no request, and leaves.
Connection::Next Connection::refuse(const Refusal& refusal) {
  thread_.metrics(nullptr).finished(refusal.status, decision::Priority::normal, Duration::zero());
  thread_.server.note_left(peer_, std::to_string(refusal.status) + ", " + refusal.why);
  const Response response = Response::text(refusal.why + "\n", refusal.status);
  std::string& text = shared_text();
  append_head(text, response.status, response.headers, {Framing::length, response.body.size()}, Persistence::close);
  text += response.body;
  return send(text) ? Next::linger : Next::close;
}

void Connection::park(Stage stage) {
  if (input_.empty()) {
    input_ = {};
    if (own_.capacity() > std::string().capacity()) own_ = std::string();
  }
  if (stage == Stage::idle && !had_request_) stage = Stage::fresh;
  if (thread_.closing) return close();
  thread_.move(*this, stage);
  // What came while it was served has been told already.
  if (has_input()) on_readable(false);
}

Connection::HangupWatch::HangupWatch(Connection& connection) : connection_(connection) {
  connection_.watching_ = &fiber::current();
  connection_.check_hangup();
}

Connection::HangupWatch::~HangupWatch() { connection_.watching_ = nullptr; }

}  // namespace penstock::http
