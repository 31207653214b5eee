#pragma once

#include <boost/system/error_code.hpp>
#include <boost/system/system_error.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "penstock/error.h"
#include "penstock/stream.h"
#include "runtime/net/listen_queue.h"

namespace penstock::net {

using boost::system::error_code;

// An IPv4 or IPv6 address and port, or a path of a Unix socket (a host that begins with "/").
struct Endpoint {
  std::string host;
  std::uint16_t port = 0;
  // "127.0.0.1:80", "[::1]:80", "/run/socket".
  std::string to_string() const;
  bool operator==(const Endpoint&) const = default;
};

// Told what happens to a socket that no fiber reads; for connections that wait without a fiber.
class SocketObserver {
 public:
  // By the reactor of the socket's thread: must not wait. Bytes, the end of the stream or an error are to be read.
  // `left`: the peer has shut down its sending side, or is gone.
  virtual void on_readable(bool left) noexcept = 0;

 protected:
  ~SocketObserver() = default;
};

// A connected stream socket.
class Socket final : public Stream {
 public:
  Socket() = default;
  // Takes a non-blocking descriptor and registers it with this thread's reactor. Throws boost::system::system_error;
  // the descriptor is then closed.
  explicit Socket(int fd);
  Socket(Socket&&) noexcept;
  Socket& operator=(Socket&&) noexcept;
  ~Socket() override;

  // Numeric endpoints only; see resolve(). Timeout zero: none but the fiber's deadline.
  static Socket connect(const Endpoint& to, Duration timeout, error_code& ec);

  bool is_open() const override { return watch_ != nullptr; }
  // -1 when closed.
  int fd() const;
  void close() override;
  void shutdown_send() override;

  void set_io_timeout(Duration d) override { io_timeout_ = d; }

  // Called once, on this thread, when the peer shuts down its sending side, resets or vanishes while no read is
  // waiting; also at once if it already has and nothing is left to read. Must not wait. Empty: none.
  void on_hangup(std::function<void()> fn);

  // Null: none. It outlives the socket, or is taken back.
  void observe(SocketObserver* observer);
  // False: all that had come was read, and the reactor has told of nothing since.
  bool readable() const;
  // Whether the peer has left, and all that it sent before was read.
  bool hung_up();
  std::size_t read_parts(const iovec* parts, int count, error_code& ec) override;
  std::size_t write_parts(const iovec* parts, int count, error_code& ec) override;

  // The same without a wait: boost::asio::error::would_block when there is nothing to read, no room to write.
  std::size_t try_read_parts(const iovec* parts, int count, error_code& ec);
  std::size_t try_write_parts(const iovec* parts, int count, error_code& ec);
  std::size_t try_read(void* to, std::size_t size, error_code& ec) {
    const iovec part{to, size};
    return try_read_parts(&part, 1, ec);
  }
  // Leaves what it reads to be read again.
  std::size_t try_peek(void* to, std::size_t size, error_code& ec);
  // Until a try may give something else than would_block; for as long as a read or write would wait.
  void wait_readable(error_code& ec);
  void wait_writable(error_code& ec);

  // Whether the peer has closed or sent something unasked: an idle connection that is of no more use.
  bool stale();

 private:
  class Watch;

  // False, with ec: it is closed.
  bool has_watch(error_code& ec) const;
  Instant io_until() const;
  template <class Side, class Try>
  std::size_t until_done(Side Watch::*side, const char* what, error_code& ec, Try&& attempt);

  Watch* watch_ = nullptr;
  Duration io_timeout_{};
};

// A listening socket; several threads may listen on one port (SO_REUSEPORT). May be made on any thread; the first
// accept() binds it to its own, where it is destroyed, too, unless the last accept() threw.
class Listener {
 public:
  // Throws boost::system::system_error. Port 0 takes a free one. A Unix socket's path is replaced if it is a socket,
  // and removed at the end.
  Listener(const Endpoint& at, int backlog);
  Listener(Listener&&) noexcept;
  Listener& operator=(Listener&&) = delete;
  ~Listener();

  // Waits; throws Cancelled, DeadlineExceeded. Backs off while descriptors are exhausted (EMFILE), with one log line a
  // second.
  Socket accept(Endpoint& peer);
  // As bound.
  Endpoint endpoint() const;

 private:
  class Watch;
  void forget_thread() noexcept;

  int fd_ = -1;
  std::string unix_path_;
  // Null: nothing is known of it.
  std::unique_ptr<ListenQueue> queue_;
  Watch* watch_ = nullptr;
};

// Addresses of a host name, IPv4 first (numeric hosts come back as they are), by c-ares on the reactor, where
// /etc/hosts counts, or by the system. Equal questions of a thread are asked once. Answers are kept for their TTL, at
// most 30 s, and that there is no such host for 2 s; while no name server answers, old answers go on to be used for 10
// minutes. Throws boost::system::system_error with host_not_found, host_not_found_try_again or timed_out;
// DeadlineExceeded, Cancelled.
std::vector<Endpoint> resolve(std::string_view host, std::uint16_t port);

}  // namespace penstock::net
