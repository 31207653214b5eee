#include "runtime/net/socket.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/error.hpp>
#include <cerrno>
#include <new>
#include <system_error>
#include <utility>

#include "penstock/fiber.h"
#include "runtime/fiber/plain_calls.h"
#include "runtime/fiber/scheduler.h"
#include "runtime/fiber/waiter.h"
#include "runtime/net/address.h"
#include "runtime/net/shortage.h"
#include "runtime/net/system_calls.h"

namespace penstock::net {
namespace {

error_code system_error(int error) { return error_code(error, boost::system::system_category()); }
error_code last_error() { return system_error(errno); }

// For how long what the reactor saw is taken for the present state of an idle connection.
constexpr auto kJustNow = std::chrono::milliseconds(1);

constexpr std::uint32_t kHangup = EPOLLRDHUP | EPOLLHUP | EPOLLERR;

}  // namespace

// The descriptor and who waits for it.
class Socket::Watch final : public fiber::Watch {
 public:
  explicit Watch(int fd) : fiber::Watch(fd) {}

  // One operation that waits; on the stack of its fiber, since the watch may be gone when it goes on.
  struct Wait {
    fiber::Waiter waiter;
    bool closed = false;
  };

  // Suspends until `slot`'s side may have become ready. False, with ec: not so.
  bool wait(Wait*& slot, Instant until, const char* what, error_code& ec);
  // Calls the hang-up function if the peer has left and all that it sent was read.
  void check_hangup();
  bool hung_up();
  void end_waits() noexcept;
  // One system call that receives, if the reactor has told of anything.
  template <class Receive>
  std::size_t receive(Receive&& receive, error_code& ec);

  Wait* reader = nullptr;
  Wait* writer = nullptr;
  SocketObserver* observer = nullptr;
  std::function<void()> hangup;
  bool peer_left = false;
  // False: all that had come was read, and the reactor has told of nothing since. Asking the kernel again would be a
  // call in vain, on every request of a kept connection.
  bool readable = true;
  // All that had come was read.
  void emptied() {
    readable = false;
    emptied_at = fiber::Scheduler::current()->reactor().looked_at();
  }
  // When the reactor had last looked before the latest emptied().
  std::uint64_t emptied_at = 0;

 private:
  void on_events(std::uint32_t events) noexcept override;
};

bool Socket::Watch::wait(Wait*& slot, Instant until, const char* what, error_code& ec) {
  if (slot != nullptr) throw std::logic_error("two fibers wait for one side of a socket");
  struct Place {
    Place(Wait*& slot, fiber::WaitingFor what) : slot(slot), wait{fiber::Waiter(what)} { slot = &wait; }
    ~Place() {
      // A closed watch may be gone, and the slot with it.
      if (!wait.closed) slot = nullptr;
    }
    Wait*& slot;
    Wait wait;
  } place(slot, {.what = what, .fd = fd()});
  const fiber::Wake why = place.wait.waiter.wait(until);
  if (place.wait.closed) {
    ec = boost::asio::error::operation_aborted;
    return false;
  }
  fiber::throw_if_interrupted(why, what);
  if (why == fiber::Wake::deadline) {
    ec = boost::asio::error::timed_out;
    return false;
  }
  return true;
}

void Socket::Watch::on_events(std::uint32_t events) noexcept {
  const bool left = (events & kHangup) != 0;
  const bool reading = reader != nullptr;
  if (left) peer_left = true;
  if ((events & (EPOLLIN | kHangup)) != 0) readable = true;
  if (reader != nullptr && (events & (EPOLLIN | kHangup)) != 0) reader->waiter.notify();
  if (writer != nullptr && (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0) writer->waiter.notify();
  if (left && !reading && hangup) std::exchange(hangup, nullptr)();
  // Last: it may close the socket.
  if (observer != nullptr && !reading && (events & (EPOLLIN | kHangup)) != 0) observer->on_readable(left);
}

bool Socket::Watch::hung_up() {
  if (!peer_left) return false;
  char byte;
  const long n = net::receive(fd(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  return !(n > 0 || n == -EAGAIN || n == -EINTR);
}

void Socket::Watch::check_hangup() {
  if (hangup && hung_up()) std::exchange(hangup, nullptr)();
}

void Socket::Watch::end_waits() noexcept {
  for (Wait* wait : {reader, writer}) {
    if (wait == nullptr) continue;
    wait->closed = true;
    wait->waiter.notify();
  }
}

Socket::Socket(int fd) {
  try {
    auto watch = std::make_unique<Watch>(fd);
    fiber::Scheduler::current()->reactor().add(*watch, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
    watch_ = watch.release();
  } catch (const std::system_error& e) {
    ::close(fd);
    throw boost::system::system_error(e.code().value(), boost::system::system_category(), "epoll_ctl");
  } catch (const std::bad_alloc&) {
    ::close(fd);
    throw;
  }
}

Socket::Socket(Socket&& other) noexcept
    : watch_(std::exchange(other.watch_, nullptr)), io_timeout_(other.io_timeout_) {}

Socket& Socket::operator=(Socket&& other) noexcept {
  if (this != &other) {
    close();
    watch_ = std::exchange(other.watch_, nullptr);
    io_timeout_ = other.io_timeout_;
  }
  return *this;
}

Socket::~Socket() { close(); }

int Socket::fd() const { return watch_ != nullptr ? watch_->fd() : -1; }

void Socket::close() {
  Watch* watch = std::exchange(watch_, nullptr);
  if (watch == nullptr) return;
  watch->end_waits();
  const int fd = watch->fd();
  fiber::Scheduler::current()->reactor().retire(watch);
  ::close(fd);
}

void Socket::shutdown_send() {
  if (watch_ != nullptr) ::shutdown(watch_->fd(), SHUT_WR);
}

void Socket::on_hangup(std::function<void()> fn) {
  if (watch_ == nullptr) return;
  watch_->hangup = std::move(fn);
  watch_->check_hangup();
}

void Socket::observe(SocketObserver* observer) {
  if (watch_ != nullptr) watch_->observer = observer;
}

bool Socket::readable() const { return watch_ != nullptr && watch_->readable; }

bool Socket::hung_up() { return watch_ != nullptr && watch_->hung_up(); }

int begin_connect(const Endpoint& to, bool& connected, error_code& ec) {
  Address address;
  if (!to_address(to, address)) {
    ec = boost::asio::error::invalid_argument;
    return -1;
  }
  const int fd = ::socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) {
    ec = last_error();
    if (is_shortage(ec.value())) note_shortage(ShortOf::connecting, to.to_string(), ec.value());
    return -1;
  }
  if (address.storage.ss_family != AF_UNIX) {
    const int on = 1;
    ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  {
    // Whoever connects through this is guarded by name.
    const fiber::PlainCalls plain;
    connected = ::connect(fd, address.get(), address.length) == 0;
  }
  if (!connected && errno != EINPROGRESS) {
    ec = last_error();
    ::close(fd);
    return -1;
  }
  return fd;
}

Socket Socket::connect(const Endpoint& to, Duration timeout, error_code& ec) {
  ec = {};
  bool connected = false;
  const int fd = begin_connect(to, connected, ec);
  if (ec) return {};
  Socket socket(fd);
  if (connected) return socket;

  const Instant until = timeout == Duration::zero() ? Instant::max() : std::chrono::steady_clock::now() + timeout;
  for (;;) {
    if (!socket.watch_->wait(socket.watch_->writer, until, "a connection", ec)) return {};
    // An event may be older than the attempt: ask.
    pollfd ready{fd, POLLOUT, 0};
    if (::poll(&ready, 1, 0) == 1) break;
  }
  int error = 0;
  socklen_t length = sizeof error;
  ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length);
  if (error != 0) {
    ec = error_code(error, boost::system::system_category());
    return {};
  }
  return socket;
}

template <class Receive>
std::size_t Socket::Watch::receive(Receive&& receive, error_code& ec) {
  if (readable) {
    long n;
    do {
      n = receive();
    } while (n == -EINTR);
    if (n > 0) return static_cast<std::size_t>(n);
    if (n == 0) {
      ec = boost::asio::error::eof;
      return 0;
    }
    if (n != -EAGAIN) {
      ec = system_error(static_cast<int>(-n));
      return 0;
    }
    emptied();
  }
  ec = boost::asio::error::would_block;
  return 0;
}

std::size_t Socket::try_read_parts(const iovec* parts, int count, error_code& ec) {
  if (!has_watch(ec)) return 0;
  const std::size_t n = watch_->receive(
      [&] {
        return count == 1 ? net::receive(watch_->fd(), parts->iov_base, parts->iov_len, 0)
                          : net::receive_parts(watch_->fd(), parts, count);
      },
      ec);
  if (ec) return 0;
  std::size_t room = 0;
  for (int i = 0; i < count; ++i) room += parts[i].iov_len;
  // A short read has emptied a stream (epoll(7)); its end is still to be read.
  if (n < room && !watch_->peer_left) watch_->emptied();
  watch_->check_hangup();
  return n;
}

std::size_t Socket::try_peek(void* to, std::size_t size, error_code& ec) {
  if (!has_watch(ec)) return 0;
  return watch_->receive([&] { return net::receive(watch_->fd(), to, size, MSG_PEEK); }, ec);
}

std::size_t Socket::try_write_parts(const iovec* parts, int count, error_code& ec) {
  if (!has_watch(ec)) return 0;
  long n;
  do {
    if (count == 1) {
      n = net::send(watch_->fd(), parts->iov_base, parts->iov_len, MSG_NOSIGNAL);
    } else {
      msghdr message{};
      message.msg_iov = const_cast<iovec*>(parts);
      message.msg_iovlen = static_cast<std::size_t>(count);
      n = net::send_parts(watch_->fd(), message, MSG_NOSIGNAL);
    }
  } while (n == -EINTR);
  if (n >= 0) return static_cast<std::size_t>(n);
  ec = n == -EAGAIN ? error_code(boost::asio::error::would_block) : system_error(static_cast<int>(-n));
  return 0;
}

bool Socket::has_watch(error_code& ec) const {
  ec = {};
  if (watch_ == nullptr) ec = boost::asio::error::bad_descriptor;
  return watch_ != nullptr;
}

Instant Socket::io_until() const {
  return io_timeout_ == Duration::zero() ? Instant::max() : std::chrono::steady_clock::now() + io_timeout_;
}

void Socket::wait_readable(error_code& ec) {
  if (has_watch(ec) && !watch_->readable) watch_->wait(watch_->reader, io_until(), "data to read", ec);
}

void Socket::wait_writable(error_code& ec) {
  if (has_watch(ec)) watch_->wait(watch_->writer, io_until(), "room to write", ec);
}

// Tries, and waits in between.
template <class Side, class Try>
std::size_t Socket::until_done(Side Watch::*side, const char* what, error_code& ec, Try&& attempt) {
  fiber::Scheduler::current()->breathe();
  Instant until{};
  for (;;) {
    const std::size_t n = attempt();
    if (ec != boost::asio::error::would_block) return n;
    if (until == Instant{}) until = io_until();
    if (!watch_->wait(watch_->*side, until, what, ec)) return 0;
  }
}

std::size_t Socket::read_parts(const iovec* parts, int count, error_code& ec) {
  ec = {};
  if (count == 0) return 0;
  return until_done(&Watch::reader, "data to read", ec, [&] { return try_read_parts(parts, count, ec); });
}

std::size_t Socket::write_parts(const iovec* parts, int count, error_code& ec) {
  ec = {};
  if (count == 0) return 0;
  return until_done(&Watch::writer, "room to write", ec, [&] { return try_write_parts(parts, count, ec); });
}

bool Socket::stale() {
  if (watch_ == nullptr || watch_->peer_left) return true;
  // The reactor has looked since, and just now, and told of nothing.
  const std::uint64_t looked_at = fiber::Scheduler::current()->reactor().looked_at();
  if (!watch_->readable && looked_at != watch_->emptied_at &&
      fiber::recent_now().time_since_epoch() - std::chrono::nanoseconds(looked_at) < kJustNow) {
    return false;
  }
  char byte;
  const long n = net::receive(watch_->fd(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  if (n == -EAGAIN || n == -EINTR) {
    if (watch_->readable) watch_->emptied();
    return false;
  }
  watch_->readable = true;
  return true;
}

}  // namespace penstock::net
