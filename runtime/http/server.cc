#include <spdlog/spdlog.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <mutex>
#include <new>
#include <stdexcept>
#include <utility>

#include "penstock/debug.h"
#include "penstock/http_server.h"
#include "runtime/http/connection.h"
#include "runtime/http/server_state.h"
#include "runtime/net/address.h"
#include "runtime/net/shortage.h"
#include "runtime/registry.h"
#include "runtime/runtime_state.h"

namespace penstock::http {
namespace {

constexpr int kBacklog = 4096;
// Before accepting again, after a connection that could not be served.
constexpr auto kBackOff = std::chrono::milliseconds(50);
// How often a full pool is looked at before accepting again.
constexpr auto kLookAgain = std::chrono::milliseconds(1);

void require(bool holds, const char* what) {
  if (!holds) throw std::invalid_argument(std::string("http::ServerOptions: ") + what);
}

ServerOptions checked(ServerOptions options) {
  using std::chrono::milliseconds;
  require(!options.address.empty(), "address must not be empty");
  require(options.max_header_bytes >= 256 && options.max_header_bytes <= 1024 * 1024,
          "max_header_bytes must be in [256, 1 MiB]");
  require(options.header_timeout > milliseconds::zero(), "header_timeout must be positive");
  require(options.body_timeout > milliseconds::zero(), "body_timeout must be positive");
  require(options.io_timeout > milliseconds::zero(), "io_timeout must be positive");
  require(options.idle_timeout > milliseconds::zero(), "idle_timeout must be positive");
  require(options.max_connections > 0, "max_connections must be positive");
  return options;
}

// SO_REUSEPORT, which the threads need to share a port, would also let a second server share it unnoticed.
void refuse_taken_port(const net::Endpoint& at) {
  net::Address address;
  if (at.port == 0 || !net::to_address(at, address) || address.storage.ss_family == AF_UNIX) return;
  const int fd = ::socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return;
  const int on = 1;
  ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const int error = ::bind(fd, address.get(), address.length) == 0 ? 0 : errno;
  ::close(fd);
  if (error != 0) {
    throw boost::system::system_error(error, boost::system::system_category(), "listen on " + at.to_string());
  }
}

void add_debug_routes(Router& router, Runtime& runtime) {
  router.add("GET", "/debug/fibers",
             {.plain =
                  [&runtime](const Request& request) {
                    std::size_t limit = 1000;
                    const std::string wanted = request.query("limit").value_or("1000");
                    const auto read = std::from_chars(wanted.data(), wanted.data() + wanted.size(), limit);
                    if (read.ec != std::errc() || read.ptr != wanted.data() + wanted.size()) {
                      throw RequestError(400, "limit: not a number");
                    }
                    const std::string format = request.query("format").value_or("text");
                    if (format != "text" && format != "json") throw RequestError(400, "format: text or json");
                    const FiberDump dump = dump_fibers(runtime, limit);
                    return format == "json" ? Response::json(to_json(dump)) : Response::text(to_text(dump));
                  }},
             true);
  router.add("GET", "/debug/stats",
             {.plain = [&runtime](const Request&) { return Response::json(stats_json(runtime)); }}, true);
}

}  // namespace

ServerState::ServerState(Runtime& runtime, ServerOptions given)
    : runtime(runtime), options(checked(std::move(given))), registry(*RuntimeAccess::state(runtime).registry) {
  for (unsigned i = 0; i < runtime.threads(); ++i) threads.push_back(std::make_unique<ServerThread>(*this));
  if (options.proxy_protocol) {
    failed_proxy_headers = &runtime.metrics().counter("penstock_proxy_header_failures_total",
                                                      "Connections that ended for want of a PROXY header.", {});
  }
  if (!options.tls) return;
  tls.emplace(*options.tls);
  failed_handshakes = &runtime.metrics().counter("penstock_tls_handshake_failures_total",
                                                 "Connections that ended before TLS was agreed on.", {});
}

void ServerState::watch_certificates() {
  try {
    while (!ended.load()) {
      sleep_for(options.tls->reload_interval);
      // Files block.
      runtime.offload([this] { tls->reload_if_changed(); });
    }
  } catch (const Cancelled&) {
  }
}

void ServerState::note_left(const net::Endpoint& peer, std::string_view why) noexcept {
  if (!left_.may(fiber::cached_now())) return;
  try {
    spdlog::info("client {}: {}", peer.to_string(), why);
  } catch (const std::bad_alloc&) {
  }
}

ServerState::Place::~Place() {
  if (state_ == nullptr || state_->open_.fetch_sub(1) != state_->options.max_connections) return;
  const std::lock_guard lock(state_->waiting_mutex_);
  for (fiber::Waiter* waiter : state_->waiting_) waiter->notify();
}

bool ServerState::try_take_place() {
  int open = open_.load();
  while (open < options.max_connections) {
    if (open_.compare_exchange_weak(open, open + 1)) return true;
  }
  return false;
}

ServerState::Place ServerState::take_place() {
  while (!try_take_place()) {
    fiber::Waiter waiter("a connection to close");
    struct Listed {
      Listed(ServerState& state, fiber::Waiter& waiter) : state(state), waiter(waiter) {
        const std::lock_guard lock(state.waiting_mutex_);
        state.waiting_.push_back(&waiter);
      }
      ~Listed() {
        const std::lock_guard lock(state.waiting_mutex_);
        std::erase(state.waiting_, &waiter);
      }
      ServerState& state;
      fiber::Waiter& waiter;
    } listed(*this, waiter);
    // Looked at again, now that whoever closes a connection sees the waiter.
    const fiber::Wake why = open_.load() < options.max_connections ? fiber::Wake::notified : waiter.wait();
    fiber::throw_if_interrupted(why, "a connection to close");
  }
  return Place(shared_from_this());
}

void ServerState::accept(net::Listener listener) {
  struct Accepting {
    ~Accepting() { thread.accepting = false; }
    ServerThread& thread;
  } accepting{*threads[fiber::thread_index()]};
  try {
    while (true) accept_some(listener);
  } catch (const Cancelled&) {
  }
  // Whoever connected before the listener closes has been told that there is a server.
  try {
    accept_some(listener);
  } catch (const Cancelled&) {
  }
}

void ServerState::wait_for_room() {
  if (options.when_full == ServerOptions::WhenFull::refuse) return;
  const Pool& pool = registry.pool("default");
  while (pool.in_flight() >= pool.limit()) sleep_for(kLookAgain);
}

void ServerState::accept_some(net::Listener& listener) {
  try {
    while (true) {
      net::Endpoint peer;
      wait_for_room();
      net::Socket socket = listener.accept(peer);
      Connection::open(*threads[fiber::thread_index()], std::move(socket), std::move(peer), take_place());
    }
  } catch (const Cancelled&) {
    throw;
  } catch (const std::bad_alloc&) {
    // That connection is lost, but not the ones to come.
    net::note_shortage(net::ShortOf::accepting, options.address, ENOMEM);
  } catch (const std::exception& e) {
    if (not_served_.may(fiber::cached_now())) {
      spdlog::error("cannot serve a connection on {}: {}", options.address, e.what());
    }
  }
  sleep_for(kBackOff);
}

struct Server::State {
  void stop_accepting() {
    for (Fiber& acceptor : acceptors) acceptor.cancel();
  }
  // Connections read the routes without a lock.
  void check_may_route() {
    std::lock_guard lock(mutex);
    if (listeners.empty()) throw std::logic_error("http::Server: a route that is added while it serves");
  }

  std::shared_ptr<ServerState> shared;
  std::string address;
  std::uint16_t port = 0;

  // The runtime starts and drains on threads of its own choice.
  std::mutex mutex;
  bool ended = false;
  std::vector<net::Listener> listeners;
  std::vector<Fiber> acceptors;
};

Server::Server(Runtime& runtime, ServerOptions options) : state_(std::make_shared<State>()) {
  state_->shared = std::make_shared<ServerState>(runtime, std::move(options));
  const ServerOptions& checked = state_->shared->options;
  net::Endpoint at{checked.address, checked.port};
  refuse_taken_port(at);
  // The path of a Unix socket cannot be shared.
  const unsigned listeners = checked.address.starts_with('/') ? 1 : runtime.threads();
  for (unsigned i = 0; i < listeners; ++i) {
    state_->listeners.emplace_back(at, kBacklog);
    at.port = state_->listeners.front().endpoint().port;
  }
  state_->port = at.port;
  state_->address = at.to_string();

  if (checked.tls) {
    state_->shared->runtime.metrics().collect(
        "penstock_tls_certificate_expiry_seconds", "When the certificate of a listener expires, as Unix time.", "gauge",
        [weak = std::weak_ptr(state_)](const MetricsRegistry::Emit& emit) {
          const auto state = weak.lock();
          if (!state) return;
          for (const auto& entry : state->shared->tls->current()->entries) {
            emit({{"address", state->address}, {"file", entry.file}},
                 std::chrono::duration<double>(entry.expires.time_since_epoch()).count());
          }
        });
  }
  if (checked.serve_metrics) {
    state_->shared->router.add("GET", "/metrics",
                               {.plain =
                                    [&runtime](const Request&) {
                                      Response response;
                                      response.headers.emplace_back("Content-Type",
                                                                    "text/plain; version=0.0.4; charset=utf-8");
                                      response.body = runtime.metrics().text();
                                      return response;
                                    }},
                               true);
    state_->shared->router.add("GET", "/healthz",
                               {.plain =
                                    [&runtime](const Request&) {
                                      return runtime.draining() ? Response::text("draining\n", 503)
                                                                : Response::text("ok\n");
                                    }},
                               true);
  }

  if (checked.serve_debug) add_debug_routes(state_->shared->router, runtime);

  RuntimeAccess::on_run(runtime, [weak = std::weak_ptr(state_), &runtime] {
    const auto state = weak.lock();
    if (!state) return;
    std::lock_guard lock(state->mutex);
    if (state->ended) return;
    for (unsigned i = 0; i < state->listeners.size(); ++i) {
      state->shared->threads[i]->accepting = true;
      auto listener = std::make_shared<net::Listener>(std::move(state->listeners[i]));
      state->acceptors.push_back(
          runtime.spawn_on(i, "http accept " + state->address,
                           [shared = state->shared, listener] { shared->accept(std::move(*listener)); }));
    }
    state->listeners.clear();
    if (state->shared->tls) {
      runtime.spawn("http certificates " + state->address, [shared = state->shared] { shared->watch_certificates(); });
    }
    for (unsigned i = 0; i < runtime.threads(); ++i) {
      runtime.spawn_on(i, "http keeper " + state->address,
                       [shared = state->shared] { shared->threads[fiber::thread_index()]->keep(); });
    }
  });
  runtime.on_drain([weak = std::weak_ptr(state_), &runtime] {
    const auto state = weak.lock();
    if (!state) return;
    {
      std::lock_guard lock(state->mutex);
      state->stop_accepting();
    }
    for (unsigned i = 0; i < runtime.threads(); ++i) {
      // What is in flight is not known before each thread has looked.
      runtime.spawn_on(i, "http drain",
                       [shared = state->shared, work = std::make_shared<RuntimeAccess::Work>(runtime)] {
                         shared->threads[fiber::thread_index()]->drain();
                       });
    }
  });
}

Server::~Server() {
  std::lock_guard lock(state_->mutex);
  state_->ended = true;
  state_->shared->ended = true;
  state_->stop_accepting();
}

void Server::route(std::string_view method, std::string_view pattern, Handler handler) {
  state_->check_may_route();
  state_->shared->router.add(method, pattern, {.plain = std::move(handler)});
}

void Server::route(std::string_view method, std::string_view pattern, StreamHandler handler) {
  state_->check_may_route();
  state_->shared->router.add(method, pattern, {.stream = std::move(handler)});
}

void Server::reload_certificates() {
  if (!state_->shared->tls) throw std::logic_error("reload_certificates() of a server without TLS");
  state_->shared->tls->reload();
}

std::string Server::address() const { return state_->address; }
std::uint16_t Server::port() const { return state_->port; }

}  // namespace penstock::http
