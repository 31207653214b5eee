#pragma once

#include <boost/asio/buffer.hpp>
#include <boost/system/error_code.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "penstock/error.h"

struct iovec;

namespace penstock::net {

using boost::system::error_code;

// An IPv4 or IPv6 address and port, or a path of a Unix socket.
struct Endpoint {
  std::string host;
  std::uint16_t port = 0;
  std::string to_string() const;
};

// A connected stream socket whose waits suspend the fiber. Belongs to the thread that made it. Meets Beast's
// SyncReadStream and SyncWriteStream.
//
// Every operation waits at most until min(io timeout, the fiber's deadline). The io timeout gives
// boost::asio::error::timed_out; the fiber's deadline and cancellation throw DeadlineExceeded and Cancelled.
class Socket {
 public:
  Socket() = default;
  // Takes a non-blocking descriptor and registers it with this thread's reactor.
  explicit Socket(int fd);
  Socket(Socket&&) noexcept;
  Socket& operator=(Socket&&) noexcept;
  ~Socket();

  // Numeric endpoints only; see resolve().
  static Socket connect(const Endpoint& to, Duration timeout, error_code& ec);

  bool is_open() const { return watch_ != nullptr; }
  int fd() const;
  void close();
  void shutdown_send();

  // For each single operation from now on; zero: none.
  void set_io_timeout(Duration d) { io_timeout_ = d; }

  // Called on this thread when the peer shut down its sending side, reset or vanished, while no read is waiting; also
  // at once if it already has and nothing is left to read. Empty: none.
  void on_hangup(std::function<void()> fn);

  template <class MutableBuffers>
  std::size_t read_some(const MutableBuffers& buffers, error_code& ec);
  template <class ConstBuffers>
  std::size_t write_some(const ConstBuffers& buffers, error_code& ec);
  template <class MutableBuffers>
  std::size_t read_some(const MutableBuffers& buffers);
  template <class ConstBuffers>
  std::size_t write_some(const ConstBuffers& buffers);

  // Whether the peer has closed or sent something unasked: an idle connection that is of no more use.
  bool stale();

 private:
  struct Watch;
  std::size_t readv(const iovec* parts, int count, error_code& ec);
  std::size_t writev(const iovec* parts, int count, error_code& ec);
  Watch* watch_ = nullptr;
  Duration io_timeout_{};
};

// A listening socket of the calling thread; several threads may listen on one port (SO_REUSEPORT).
class Listener {
 public:
  // Throws boost::system::system_error. Port 0 takes a free one. May be made on any thread, before accept().
  Listener(const Endpoint& at, int backlog);
  Listener(Listener&&) noexcept;
  ~Listener();
  // Waits; throws Cancelled. Backs off while descriptors are exhausted (EMFILE), with one log line a second.
  Socket accept(Endpoint& peer);
  Endpoint endpoint() const;

 private:
  int fd_ = -1;
  struct Watch;
  Watch* watch_ = nullptr;
};

// Addresses of a host name (numeric hosts come back as they are), by c-ares on the reactor; /etc/hosts counts.
// Throws boost::system::system_error with host_not_found or timed_out; DeadlineExceeded, Cancelled.
std::vector<Endpoint> resolve(std::string_view host, std::uint16_t port);

}  // namespace penstock::net
