#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "runtime/fiber/waiter.h"
#include "runtime/http/client_connection.h"
#include "runtime/http/url.h"

namespace penstock {
class Registry;
class Upstream;
}  // namespace penstock

namespace penstock::http {

// One log line a second, and how many there would have been besides.
class LogTurn {
 public:
  // Unset: not now.
  std::optional<std::uint64_t> take(Instant now) noexcept {
    ++held_;
    if (now - last_ < std::chrono::seconds(1)) return std::nullopt;
    last_ = now;
    return std::exchange(held_, 0) - 1;
  }

 private:
  Instant last_{};
  std::uint64_t held_ = 0;
};

// The connections to one host from one scheduler thread, used on it only.
class ClientHost {
 public:
  // `target`: without what follows the authority.
  ClientHost(CallTarget target, int max_idle);

  // Scheme, host, port and authority.
  const CallTarget target;
  // "host:port", for errors.
  const std::string name;

  // The right to one connection, and the connection once there is one: an idle one that was taken over, or one that the
  // holder makes. Given back when this ends: a connection that can carry another call is kept.
  class Lease {
   public:
    Lease() = default;
    Lease(ClientHost& host, std::unique_ptr<ClientConnection> connection);
    Lease(Lease&& other) noexcept;
    Lease& operator=(Lease&& other) noexcept;
    ~Lease() { release(); }

    ClientHost& host() const { return *host_; }
    std::unique_ptr<ClientConnection> connection;

    void release() noexcept;

   private:
    ClientHost* host_ = nullptr;
  };

  // The connection used last, or the right to make one. Waits while max_connections are open, first come first served.
  // Throws DeadlineExceeded, Cancelled.
  Lease acquire(const ClientOptions& options);
  // As Registry::match_upstream().
  Upstream& upstream(const Registry& registry);
  // Whether acquire() would wait.
  bool full(const ClientOptions& options) const;

  // Closes what has been idle for too long or was closed by the server.
  void expire(Duration idle_timeout);
  // Closes what is idle, and from now on all that is given back.
  void close() noexcept;
  // How many connections were closed, since it was last asked, because the server had sent something unasked.
  int take_unasked() noexcept { return std::exchange(unasked_, 0); }
  // Of the log lines about it.
  LogTurn failures, surplus;

  bool unused() const { return open_ == 0 && waiting_.empty() && pins_ == 0; }

  // Keeps it from being taken for unused.
  class Pin {
   public:
    explicit Pin(ClientHost& host) : host_(&host) { ++host.pins_; }
    ~Pin() { --host_->pins_; }
    Pin(const Pin&) = delete;
    Pin& operator=(const Pin&) = delete;

   private:
    ClientHost* host_;
  };

 private:
  struct Waiting {
    fiber::Waiter waiter{"a free connection"};
    std::unique_ptr<ClientConnection> given;
  };

  void give_back(std::unique_ptr<ClientConnection> connection) noexcept;
  bool is_stale(ClientConnection& idle);
  // Null: none that is of use.
  std::unique_ptr<ClientConnection> take_idle(Duration idle_timeout);

  int max_idle_;
  // As of that revision of the policy; null: not asked for yet.
  Upstream* upstream_ = nullptr;
  std::uint64_t upstream_revision_ = 0;
  using Connections = std::vector<std::unique_ptr<ClientConnection>>;
  // Counts those as idle that became so before the reactor last looked.
  void settle() noexcept;

  // The latest used last.
  Connections idle_;
  // Given back since the reactor last looked. Of the others it has told by now if their server has left; these would
  // have to ask, a system call each, and so come last.
  Connections fresh_;
  std::uint64_t fresh_since_ = 0;
  // Leases, and idle connections.
  int open_ = 0;
  int pins_ = 0;
  int unasked_ = 0;
  std::list<Waiting*> waiting_;
};

// The hosts that one scheduler thread calls.
class alignas(64) ClientPool {
 public:
  // Throws std::invalid_argument for what is no URL. `target` becomes a view of the URL, or of `own_target`, which then
  // is filled. The host lives while it is used or pinned.
  ClientHost& host(std::string_view url, std::string_view& target, std::string& own_target, int max_idle);

  // Closes what is of no more use; then calls each(host), which must not wait. False when no host is left.
  bool tend(Duration idle_timeout, const std::function<void(ClientHost&)>& each);
  void close() noexcept;

  // A fiber calls tend() now and then.
  bool tended = false;

 private:
  struct Hash {
    using is_transparent = void;
    std::size_t operator()(std::string_view text) const noexcept { return std::hash<std::string_view>()(text); }
  };
  // Of `origin` with what it is mapped to; null: none.
  ClientHost* find(std::string_view origin);

  bool closed_ = false;
  // The one used last, an entry of hosts_; null: none.
  const std::pair<const std::string, std::unique_ptr<ClientHost>>* latest_ = nullptr;
  // By origin.
  std::unordered_map<std::string, std::unique_ptr<ClientHost>, Hash, std::equal_to<>> hosts_;
};

}  // namespace penstock::http
