#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/context/detail/exception.hpp>
#include <chrono>
#include <exception>
#include <optional>
#include <string>
#include <utility>

#include "penstock/fiber.h"
#include "penstock/http_client.h"
#include "runtime/http/exchange_state.h"
#include "runtime/http/request_target.h"
#include "runtime/http/request_timeout.h"
#include "runtime/http/server_state.h"
#include "runtime/http/trace_context.h"
#include "runtime/registry.h"
#include "runtime/telemetry/one_line.h"

// The middle of Exchange::State: from a header to a handler, and from what it throws to an answer.
namespace penstock::http {
namespace {

// For the last word to a client when the server's patience with its request has ended.
constexpr auto kLastWord = std::chrono::seconds(1);

}  // namespace

Exchange::State::State(Connection& connection, RequestParser& parser)
    : connection(connection),
      parser(parser),
      arrived(fiber::cached_now()),
      body_limit(connection.options().max_body_bytes) {
  request.head = parser.head();
  request.path = path_of(request.head.target());
  request.client = &connection.peer();
  request.tls = connection.tls();
}

Connection::Next Exchange::State::serve() {
  struct Serving {
    explicit Serving(State& state) : connection(state.connection) { connection.set_serving(&state.request.head); }
    ~Serving() { connection.set_serving(nullptr); }
    Connection& connection;
  } serving(*this);
  account = connection.thread().take_account();
  fiber::set_account(account);
  if (const std::string_view header = request.head.find("traceparent"); !header.empty()) {
    if (const auto trace = TraceContext::parse(header)) {
      account->trace = *trace;
      request.trace_id = trace_id_of(header);
    }
  }
  try {
    route_and_handle();
  } catch (const boost::context::detail::forced_unwind&) {
    throw;
  } catch (const RequestError& e) {
    if (!parser.is_done()) close = true;
    fail(e.status(), e.what());
  } catch (const Rejected& e) {
    rejected = e.reason();
    fail(503, e.what(), e.retry_after());
  } catch (const DeadlineExceeded& e) {
    log_failure(e.what());
    fail(504, "deadline exceeded");
  } catch (const Cancelled&) {
    // A client that is there has not been told yet.
    if (!connection.client_left() && !started) {
      const CancelShield shield;
      const DeadlineScope deadline(std::chrono::steady_clock::now() + kLastWord);
      close = true;
      fail(503, "stopping", Duration::zero());
    }
    close = true;
  } catch (const CallError& e) {
    log_failure(e.what());
    fail(502, "bad gateway");
  } catch (const std::exception& e) {
    log_failure(e.what());
    fail(500, "internal error");
  } catch (...) {
    log_failure("an exception of unknown type");
    fail(500, "internal error");
  }
  end_request();
  if (handed_over || connection.client_left()) return Connection::Next::close;
  if (!parser.is_done()) return Connection::Next::linger;
  return close ? Connection::Next::close : Connection::Next::again;
}

void Exchange::State::end_request() {
  if (!account) return;
  if (bounds != nullptr) bounds->end();
  fiber::set_account(nullptr);
  count();
  connection.thread().give_account(std::move(account));
}

void Exchange::State::route_and_handle() {
  const Router& router = connection.thread().server.router;
  const Router::Found found = router.find(request.path, request.head.method(), request.params);
  route = found.route;
  if (route == nullptr) throw RequestError(404, "not found");
  const RouteHandler* handler = found.handler;
  if (handler == nullptr) {
    if (!parser.is_done()) close = true;
    Response response = Response::text("method not allowed\n", 405);
    response.headers.emplace_back("Allow", router.allowed(request.path));
    return respond(response);
  }
  if (const auto length = parser.content_length(); length && *length > body_limit && handler->plain) {
    refuse_body(413, "the body is too large");
  }
  parser.body_limit(body_limit);
  handle(*handler);
}

void Exchange::State::handle(const RouteHandler& handler) {
  const ServerOptions& options = connection.options();
  Instant deadline = Instant::max();
  if (options.request_timeouts) {
    if (const auto timeout = request_timeout(request.head)) deadline = arrived + *timeout;
  }
  if (handler.plain) read_body();
  // The next request may have come along.
  connection.keep_shared_input();

  // A connection that was idle when the drain began looks hung up, see ServerThread::drain().
  struct Bounded : Bounds {
    explicit Bounded(State& state) : state(state) { state.bounds = this; }
    ~Bounded() { state.bounds = nullptr; }
    State& state;
  } bounded(*this);
  if (options.cancel_on_disconnect && !connection.thread().draining) bounded.hangup.emplace(connection);
  if (options.admission && !route->auxiliary) {
    const RouteDecision decided = connection.thread().server.registry.route(request.path);
    account->priority = priority = decided.priority;
    account->tenant = decided.tenant;
    if (decided.tenants != nullptr) {
      account->tenant = decision::tenant_named(*decided.tenants, request.head.find(decided.tenants->header));
    }
    if (decided.deadline) deadline = std::min(deadline, arrived + *decided.deadline);
    if (deadline != Instant::max()) bounded.deadline.emplace(deadline);
    connection.thread().server.registry.door().enter(decided.priority, account->tenant);
    bounded.permit = decided.pool->acquire(decided.priority);
  } else if (deadline != Instant::max()) {
    bounded.deadline.emplace(deadline);
  }
  if (handler.stream) {
    handler.stream(exchange);
    if (!started) throw std::logic_error("a handler ended without an answer");
    finish({});
    return;
  }
  const Response response = handler.plain(view);
  // The work is done: its place is free while the client reads.
  bounded.end();
  if (connection.client_left()) throw Cancelled("the client left");
  respond(response);
}

Persistence Exchange::State::persistence() {
  if (!parser.keep_alive() || connection.thread().draining || connection.thread().server.runtime.draining()) {
    close = true;
  }
  if (close) return Persistence::close;
  return parser.http_version() < 11 ? Persistence::keep_explicit : Persistence::keep;
}

void Exchange::State::fail(int code, std::string text, std::optional<Duration> retry_after) {
  if (started) {
    // The client must not take what it has for the whole.
    close = true;
    return;
  }
  pending.clear();
  if (!parser.is_done()) close = true;
  try {
    Response response = Response::text(std::move(text) + "\n", code);
    if (retry_after) {
      const auto seconds = std::chrono::ceil<std::chrono::seconds>(*retry_after).count();
      response.headers.emplace_back("Retry-After", std::to_string(std::max<std::int64_t>(1, seconds)));
    }
    respond(response);
  } catch (const Cancelled&) {
    close = true;
  } catch (const DeadlineExceeded&) {
    close = true;
  }
}

void Exchange::State::log_failure(const char* what) {
  // No memory to look for it.
  if (route == nullptr) return;
  if (route->failures.may(fiber::cached_now())) {
    spdlog::error("route {}: {}", route->pattern, telemetry::OneLine{what});
  }
}

void Exchange::State::count() {
  const Duration took = std::max(fiber::cached_now() - arrived, Duration::zero());
  const int code = connection.client_left() ? kClientLeft : status;
  if (route == nullptr || !route->auxiliary) {
    RouteMetrics& metrics = connection.thread().metrics(route);
    metrics.finished(code, priority, took);
    if (rejected && !connection.client_left()) metrics.rejected(priority, *rejected);
    metrics.account(*account);
    if (connection.options().admission && !rejected)
      connection.thread().server.registry.door().served(account->running);
  }
  if (!connection.options().access_log) return;
  Duration waiting{};
  for (const auto& [upstream, time] : account->waiting) waiting += time;
  connection.options().access_log({.method = request.head.method(),
                                   .target = request.head.target(),
                                   .peer = view.peer(),
                                   .trace_id = request.trace_id,
                                   .status = code,
                                   .bytes = written,
                                   .took = took,
                                   .running = account->running,
                                   .ready = account->ready,
                                   .waiting = waiting});
}

}  // namespace penstock::http
