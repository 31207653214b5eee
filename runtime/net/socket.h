#pragma once

#include <sys/uio.h>

#include <array>
#include <boost/asio/buffer.hpp>
#include <boost/system/error_code.hpp>
#include <boost/system/system_error.hpp>
#include <chrono>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "penstock/error.h"

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

// A connected stream socket whose waits suspend the fiber. Belongs to the thread that made it. Meets Beast's
// SyncReadStream and SyncWriteStream. One fiber may read while another one writes.
//
// Every operation waits at most until min(io timeout, the fiber's deadline). The io timeout gives
// boost::asio::error::timed_out; the fiber's deadline and cancellation throw DeadlineExceeded and Cancelled. What waits
// when another fiber closes the socket gets boost::asio::error::operation_aborted.
class Socket {
 public:
  Socket() = default;
  // Takes a non-blocking descriptor and registers it with this thread's reactor. Throws boost::system::system_error;
  // the descriptor is then closed.
  explicit Socket(int fd);
  Socket(Socket&&) noexcept;
  Socket& operator=(Socket&&) noexcept;
  ~Socket();

  // Numeric endpoints only; see resolve(). Timeout zero: none but the fiber's deadline.
  static Socket connect(const Endpoint& to, Duration timeout, error_code& ec);

  bool is_open() const { return watch_ != nullptr; }
  // -1 when closed.
  int fd() const;
  void close();
  void shutdown_send();

  // For each single operation from now on; zero: none.
  void set_io_timeout(Duration d) { io_timeout_ = d; }

  // Called once, on this thread, when the peer shuts down its sending side, resets or vanishes while no read is
  // waiting; also at once if it already has and nothing is left to read. Must not wait. Empty: none.
  void on_hangup(std::function<void()> fn);

  // At least one byte, or an error; boost::asio::error::eof at the end of the stream.
  template <class MutableBuffers>
  std::size_t read_some(const MutableBuffers& buffers, error_code& ec) {
    const Parts parts(buffers);
    return readv(parts.list.data(), parts.count, ec);
  }
  template <class ConstBuffers>
  std::size_t write_some(const ConstBuffers& buffers, error_code& ec) {
    const Parts parts(buffers);
    return writev(parts.list.data(), parts.count, ec);
  }
  // As above; errors are thrown as boost::system::system_error.
  template <class MutableBuffers>
  std::size_t read_some(const MutableBuffers& buffers) {
    error_code ec;
    const std::size_t n = read_some(buffers, ec);
    if (ec) throw boost::system::system_error(ec, "read");
    return n;
  }
  template <class ConstBuffers>
  std::size_t write_some(const ConstBuffers& buffers) {
    error_code ec;
    const std::size_t n = write_some(buffers, ec);
    if (ec) throw boost::system::system_error(ec, "write");
    return n;
  }

  // Whether the peer has closed or sent something unasked: an idle connection that is of no more use.
  bool stale();

 private:
  class Watch;

  // The first 16 non-empty parts of a buffer sequence: a call for some bytes need not take them all.
  struct Parts {
    template <class Buffers>
    explicit Parts(const Buffers& buffers) {
      const auto end = boost::asio::buffer_sequence_end(buffers);
      for (auto it = boost::asio::buffer_sequence_begin(buffers); it != end && count < 16; ++it) {
        // A const buffer is only ever read from.
        const boost::asio::const_buffer part(*it);
        if (part.size() != 0) list[count++] = {const_cast<void*>(part.data()), part.size()};
      }
    }
    std::array<iovec, 16> list;
    int count = 0;
  };

  std::size_t readv(const iovec* parts, int count, error_code& ec);
  std::size_t writev(const iovec* parts, int count, error_code& ec);

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
  Watch* watch_ = nullptr;
};

// Addresses of a host name, IPv4 first (numeric hosts come back as they are), by c-ares on the reactor; /etc/hosts
// counts. Answers are kept for their TTL, at most 30 s.
// Throws boost::system::system_error with host_not_found, host_not_found_try_again or timed_out; DeadlineExceeded,
// Cancelled.
std::vector<Endpoint> resolve(std::string_view host, std::uint16_t port);

}  // namespace penstock::net
