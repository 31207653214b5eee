#include "runtime/net/pipe.h"

#include <sys/epoll.h>
#include <sys/uio.h>
#include <unistd.h>

#include <boost/asio/error.hpp>
#include <cerrno>
#include <chrono>
#include <memory>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "runtime/fiber/scheduler.h"
#include "runtime/fiber/waiter.h"

namespace penstock::net {

using boost::system::error_code;

class Pipe::Watch final : public fiber::Watch {
 public:
  using fiber::Watch::Watch;

  // On the stack of the fiber that waits, since the watch may be gone when it goes on.
  struct Wait {
    fiber::Waiter waiter;
    bool closed = false;
  };
  Wait* waiting = nullptr;

 private:
  void on_events(std::uint32_t) noexcept override {
    if (waiting != nullptr) waiting->waiter.notify();
  }
};

Pipe::Pipe(int fd, End end) : end_(end) {
  auto watch = std::make_unique<Watch>(fd);
  try {
    fiber::Scheduler::current()->reactor().add(*watch, (end == End::read ? EPOLLIN : EPOLLOUT) | EPOLLET);
  } catch (const std::system_error& e) {
    ::close(fd);
    throw boost::system::system_error(e.code().value(), boost::system::system_category(), "epoll_ctl");
  }
  watch_ = watch.release();
}

Pipe::~Pipe() { close(); }

void Pipe::close() {
  Watch* watch = std::exchange(watch_, nullptr);
  if (watch == nullptr) return;
  if (watch->waiting != nullptr) {
    watch->waiting->closed = true;
    watch->waiting->waiter.notify();
  }
  const int fd = watch->fd();
  fiber::Scheduler::current()->reactor().retire(watch);
  ::close(fd);
}

void Pipe::shutdown_send() {
  if (end_ == End::write) close();
}

std::size_t Pipe::read_parts(const iovec* parts, int count, error_code& ec) {
  ec = {};
  if (end_ != End::read) ec = boost::asio::error::bad_descriptor;
  if (ec || count == 0) return 0;
  const std::size_t n = transfer(&::readv, parts, count, "data to read from a pipe", ec);
  if (n == 0 && !ec) ec = boost::asio::error::eof;
  return n;
}

std::size_t Pipe::write_parts(const iovec* parts, int count, error_code& ec) {
  ec = {};
  if (end_ != End::write) ec = boost::asio::error::bad_descriptor;
  if (ec || count == 0) return 0;
  return transfer(&::writev, parts, count, "room in a pipe", ec);
}

std::size_t Pipe::transfer(Call call, const iovec* parts, int count, const char* waiting_for, error_code& ec) {
  if (watch_ == nullptr) {
    ec = boost::asio::error::bad_descriptor;
    return 0;
  }
  fiber::Scheduler::current()->breathe();
  Instant until = Instant::max();
  for (;;) {
    const ssize_t n = call(watch_->fd(), parts, count);
    if (n >= 0) return static_cast<std::size_t>(n);
    if (errno == EINTR) continue;
    if (errno != EAGAIN) {
      ec = error_code(errno, boost::system::system_category());
      return 0;
    }
    if (io_timeout_ != Duration::zero() && until == Instant::max()) {
      until = std::chrono::steady_clock::now() + io_timeout_;
    }
    if (watch_->waiting != nullptr) throw std::logic_error("two fibers wait for one end of a pipe");
    Watch::Wait wait{.waiter = fiber::Waiter({.what = waiting_for, .fd = watch_->fd()})};
    watch_->waiting = &wait;
    const fiber::Wake why = wait.waiter.wait(until);
    if (wait.closed) {
      ec = boost::asio::error::operation_aborted;
      return 0;
    }
    watch_->waiting = nullptr;
    fiber::throw_if_interrupted(why, waiting_for);
    if (why == fiber::Wake::deadline) {
      ec = boost::asio::error::timed_out;
      return 0;
    }
  }
}

}  // namespace penstock::net
