#pragma once

#include <atomic>
#include <boost/intrusive/list.hpp>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "penstock/http.h"
#include "penstock/runtime.h"
#include "runtime/fiber/fiber_state.h"
#include "runtime/fiber/waiter.h"
#include "runtime/http/route_metrics.h"
#include "runtime/http/router.h"
#include "runtime/net/socket.h"

namespace penstock::http {

// What the drain sees of a connection. Touched on its own thread only.
struct OpenConnection : boost::intrusive::list_base_hook<boost::intrusive::link_mode<boost::intrusive::auto_unlink>> {
  fiber::FiberState* fiber = nullptr;
  int fd = -1;
  // Between requests: nothing is lost when it is closed.
  bool idle = false;
  // Before its first request.
  bool fresh = true;
};

// The part of a server that belongs to one scheduler thread.
struct ServerThread {
  using Connections = boost::intrusive::list<OpenConnection, boost::intrusive::constant_time_size<false>>;

  RouteMetrics& metrics(MetricsRegistry& registry, const Route* route);

  bool draining = false;
  Connections connections;

 private:
  // By the index of the route; the first is that of requests without one.
  std::vector<std::unique_ptr<RouteMetrics>> metrics_;
};

// What all connections of a server share.
struct ServerState : std::enable_shared_from_this<ServerState> {
  ServerState(Runtime& runtime, ServerOptions given);

  // The body of a thread's accepting fiber.
  void accept(net::Listener listener);
  // On each thread, when the drain begins; returns when all that had come is being served.
  void drain_thread();

  Runtime& runtime;
  const ServerOptions options;
  Router router;
  std::vector<std::unique_ptr<ServerThread>> threads;

  // One of the max_connections places, while it lives; gives way to acceptors that wait for one.
  class Place {
   public:
    explicit Place(ServerState& state) : state_(&state) {}
    Place(Place&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
    ~Place();

   private:
    ServerState* state_;
  };

 private:
  // Until a connection could not be served. Throws Cancelled.
  void accept_some(net::Listener& listener);
  bool try_take_place();
  // Waits until there is one. Throws Cancelled.
  Place take_place();

  std::atomic<int> open_{0};
  std::mutex waiting_mutex_;
  std::vector<fiber::Waiter*> waiting_;
  std::atomic<std::int64_t> logged_second_{-1};
};

// Serves one connection until it ends; the body of its fiber.
void serve_connection(ServerState& server, net::Socket socket, const net::Endpoint& peer, ServerState::Place place);

}  // namespace penstock::http
