#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "penstock/http.h"
#include "penstock/runtime.h"
#include "runtime/fiber/waiter.h"
#include "runtime/http/once_a_second.h"
#include "runtime/http/router.h"
#include "runtime/http/server_thread.h"
#include "runtime/net/socket.h"
#include "runtime/net/tls_context.h"

namespace penstock {
class Registry;
}

namespace penstock::http {

// What all connections of a server share.
struct ServerState : std::enable_shared_from_this<ServerState> {
  ServerState(Runtime& runtime, ServerOptions given);

  // The body of a thread's accepting fiber.
  void accept(net::Listener listener);
  // The body of the fiber that looks for new certificates.
  void watch_certificates();
  // A line of the log, once a second, on a client that did not keep to what is asked of it. From a fiber or a callback.
  void note_left(const net::Endpoint& peer, std::string_view why) noexcept;

  Runtime& runtime;
  const ServerOptions options;
  Registry& registry;
  Router router;
  // Unset: without TLS.
  std::optional<net::TlsServerContext> tls;
  Counter* failed_handshakes = nullptr;
  // Null: without the PROXY protocol.
  Counter* failed_proxy_headers = nullptr;
  std::vector<std::unique_ptr<ServerThread>> threads;
  // No connections come any more.
  std::atomic<bool> ended{false};

  // One of the max_connections places, while it lives; gives way to acceptors that wait for one. Keeps the state: what
  // was handed over may outlive the server.
  class Place {
   public:
    explicit Place(std::shared_ptr<ServerState> state) : state_(std::move(state)) {}
    Place(Place&&) noexcept = default;
    ~Place();

   private:
    std::shared_ptr<ServerState> state_;
  };

 private:
  // Until a connection could not be served. Throws Cancelled.
  void accept_some(net::Listener& listener);
  // Waits while the pool is full, if the options say so. Throws Cancelled.
  void wait_for_room();
  bool try_take_place();
  // Waits until there is one. Throws Cancelled.
  Place take_place();

  std::atomic<int> open_{0};
  std::mutex waiting_mutex_;
  std::vector<fiber::Waiter*> waiting_;
  OnceASecond not_served_;
  OnceASecond left_;
};

}  // namespace penstock::http
