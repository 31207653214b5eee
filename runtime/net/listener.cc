#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/asio/error.hpp>
#include <cerrno>
#include <cstring>
#include <memory>
#include <system_error>
#include <utility>

#include "penstock/fiber.h"
#include "runtime/fiber/scheduler.h"
#include "runtime/fiber/waiter.h"
#include "runtime/net/address.h"
#include "runtime/net/shortage.h"
#include "runtime/net/socket.h"

namespace penstock::net {
namespace {

constexpr auto kBackOff = std::chrono::milliseconds(20);

[[noreturn]] void throw_errno(const char* what) {
  throw boost::system::system_error(errno, boost::system::system_category(), what);
}

// Errors of the one connection, which is gone (accept(2)).
bool connection_failed(int error) {
  switch (error) {
    case ECONNABORTED:
    case EINTR:
    case EPROTO:
    case ENETDOWN:
    case ENOPROTOOPT:
    case EHOSTDOWN:
    case ENONET:
    case EHOSTUNREACH:
    case EOPNOTSUPP:
    case ENETUNREACH:
    case EPERM:
      return true;
    default:
      return false;
  }
}

}  // namespace

class Listener::Watch final : public fiber::Watch {
 public:
  explicit Watch(int fd) : fiber::Watch(fd), scheduler(fiber::Scheduler::current()) {}

  fiber::Scheduler* const scheduler;
  fiber::Waiter* waiter = nullptr;

 private:
  void on_events(std::uint32_t) noexcept override {
    if (waiter != nullptr) waiter->notify();
  }
};

Listener::Listener(const Endpoint& at, int backlog) {
  Address address;
  if (!to_address(at, address)) {
    throw boost::system::system_error(boost::asio::error::invalid_argument,
                                      "listen on '" + at.to_string() + "': not a numeric address nor a path");
  }
  fd_ = ::socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd_ < 0) throw_errno("socket");
  const bool is_unix = address.storage.ss_family == AF_UNIX;
  const int on = 1;
  struct stat existing;
  if (!is_unix) {
    ::setsockopt(fd_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    ::setsockopt(fd_, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on);
    // Accepted sockets inherit it.
    ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  } else if (::lstat(at.host.c_str(), &existing) == 0 && S_ISSOCK(existing.st_mode)) {
    ::unlink(at.host.c_str());
  }
  if (::bind(fd_, address.get(), address.length) != 0 || ::listen(fd_, backlog) != 0) {
    const int error = errno;
    ::close(std::exchange(fd_, -1));
    throw boost::system::system_error(error, boost::system::system_category(), "listen on " + at.to_string());
  }
  if (is_unix) {
    unix_path_ = at.host;
  } else {
    queue_ = std::make_unique<ListenQueue>(fd_, endpoint().to_string());
  }
}

Listener::Listener(Listener&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      unix_path_(std::exchange(other.unix_path_, {})),
      queue_(std::move(other.queue_)),
      watch_(std::exchange(other.watch_, nullptr)) {}

Listener::~Listener() {
  forget_thread();
  queue_.reset();
  if (fd_ >= 0) ::close(fd_);
  if (!unix_path_.empty()) ::unlink(unix_path_.c_str());
}

void Listener::forget_thread() noexcept {
  Watch* watch = std::exchange(watch_, nullptr);
  if (watch != nullptr) watch->scheduler->reactor().retire(watch);
}

Endpoint Listener::endpoint() const {
  Address address;
  address.length = sizeof address.storage;
  if (::getsockname(fd_, address.get(), &address.length) != 0) throw_errno("getsockname");
  return to_endpoint(address.get(), address.length);
}

Socket Listener::accept(Endpoint& peer) {
  try {
    if (watch_ == nullptr) {
      auto watch = std::make_unique<Watch>(fd_);
      try {
        fiber::Scheduler::current()->reactor().add(*watch, EPOLLIN | EPOLLET);
      } catch (const std::system_error& e) {
        throw boost::system::system_error(e.code().value(), boost::system::system_category(), "epoll_ctl");
      }
      watch_ = watch.release();
    }
    fiber::Scheduler::current()->breathe();
    for (;;) {
      Address address;
      address.length = sizeof address.storage;
      const int fd = ::accept4(fd_, address.get(), &address.length, SOCK_NONBLOCK | SOCK_CLOEXEC);
      if (fd >= 0) {
        peer = to_endpoint(address.get(), address.length);
        return Socket(fd);
      }
      const int error = errno;
      if (connection_failed(error)) continue;
      if (error == EAGAIN) {
        fiber::Waiter waiter("a connection to accept");
        watch_->waiter = &waiter;
        const fiber::Wake why = waiter.wait();
        watch_->waiter = nullptr;
        fiber::throw_if_interrupted(why, "a connection");
      } else if (is_shortage(error)) {
        note_shortage(ShortOf::accepting, endpoint().to_string(), error);
        sleep_for(kBackOff);
      } else {
        throw boost::system::system_error(error, boost::system::system_category(), "accept");
      }
    }
  } catch (...) {
    forget_thread();
    throw;
  }
}

}  // namespace penstock::net
