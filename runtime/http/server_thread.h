#pragma once

#include <array>
#include <boost/intrusive/list.hpp>
#include <cstddef>
#include <memory>
#include <optional>
#include <vector>

#include "penstock/error.h"
#include "runtime/fiber/fiber_state.h"
#include "runtime/http/route_metrics.h"
#include "runtime/runtime_state.h"

namespace penstock::fiber {
class Waiter;
}

namespace penstock::http {

class Connection;
struct Route;
struct ServerState;

// Of a connection. All but `active` wait in the reactor, without a fiber.
enum class Stage : unsigned char {
  fresh,      // before its first request
  idle,       // between requests: nothing is lost when it is closed
  partial,    // part of a header has come
  active,     // a fiber serves it
  lingering,  // the last word was sent; what the client still sends is thrown away
};
inline constexpr std::size_t kStages = 5;

using StageHook = boost::intrusive::list_base_hook<boost::intrusive::link_mode<boost::intrusive::normal_link>>;

// The part of a server that belongs to one scheduler thread, used on it only. Owns its connections.
class ServerThread {
 public:
  explicit ServerThread(ServerState& server);
  ~ServerThread();

  // The body of the fiber that ends the waits that last too long. Returns when it is cancelled or the server has ended,
  // and the last connection has gone.
  void keep();
  // When the drain begins; returns when all that had come, or came within a second, is being served.
  void drain();

  void enter(Connection& connection, Stage stage);
  void move(Connection& connection, Stage stage);
  void leave(Connection& connection);

  RouteMetrics& metrics(const Route* route);
  // Of a connection that is active, but not with a request yet.
  class Handshake {
   public:
    explicit Handshake(ServerThread& thread) : thread_(thread) { thread_.count_handshake(1); }
    ~Handshake() { thread_.count_handshake(-1); }
    Handshake(const Handshake&) = delete;

   private:
    ServerThread& thread_;
  };
  // An account for one request; given back when its work has ended.
  std::shared_ptr<fiber::RequestAccount> take_account();
  void give_account(std::shared_ptr<fiber::RequestAccount> account);

  ServerState& server;
  // What its connections receive into, and answer from. Not thread_local: each plain thread would have it on its stack.
  static constexpr std::size_t kReceive = 64 * 1024;
  const std::unique_ptr<char[]> received = std::make_unique_for_overwrite<char[]>(kReceive);
  // Its acceptor has not ended.
  bool accepting = false;
  bool draining = false;
  // Nothing may wait any more.
  bool closing = false;

 private:
  // Connections by their stage, in the order in which they entered it, which is that of their time-outs.
  struct Stages;

  void expire(Stage stage, Duration after);
  void close_all(Stage stage);
  void count(Stage stage, int change);
  void count_handshake(int change);
  void count_busy(int change);
  bool awaits_headers() const;

  const std::unique_ptr<Stages> stages_;
  std::size_t open_ = 0;
  fiber::Waiter* last_left_ = nullptr;
  // Connections with a request, and what tells the drain of them.
  std::size_t busy_ = 0;
  int handshakes_ = 0;
  // The drain waits no longer for those whose request has not come as a whole.
  bool hurried_ = false;
  std::optional<RuntimeAccess::Work> work_;
  // By the index of the route; the first is that of requests without one.
  std::vector<std::unique_ptr<RouteMetrics>> metrics_;
  std::vector<std::shared_ptr<fiber::RequestAccount>> accounts_;
};

}  // namespace penstock::http
