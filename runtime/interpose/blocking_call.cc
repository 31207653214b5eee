#include "runtime/interpose/blocking_call.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <exception>

#include "runtime/fiber/fiber_state.h"
#include "runtime/interpose/guarded_connection.h"

namespace penstock::interpose {

constexpr BlockingCall::Direction BlockingCall::kReceive{EPOLLIN | EPOLLRDHUP, "data to read", SO_RCVTIMEO};
constexpr BlockingCall::Direction BlockingCall::kSend{EPOLLOUT, "room to write", SO_SNDTIMEO};
constexpr BlockingCall::Direction BlockingCall::kAccept{EPOLLIN, "a connection to accept", SO_RCVTIMEO, true};
constexpr BlockingCall::Direction BlockingCall::kConnect{EPOLLOUT, "a connection", SO_SNDTIMEO};

BlockingCall::BlockingCall(fiber::Scheduler&, int fd, const Direction& direction) noexcept
    : fd_(fd),
      direction_(direction),
      descriptor_(make_descriptor(fd)),
      generation_(descriptor_ != nullptr ? descriptor_->generation.load(std::memory_order_relaxed) : 0) {}

BlockingCall::~BlockingCall() {
  if (!woken_ || !direction_.exclusive) return;
  const int error = errno;
  pass_on(fd_);
  errno = error;
}

bool BlockingCall::wait() noexcept {
  if (errno == EINTR) return true;
  if (errno != EAGAIN) return false;
  return begin() && suspend();
}

bool BlockingCall::wait_for_rest() noexcept { return begin() && suspend(); }

bool BlockingCall::begin() noexcept {
  if (begun_) return true;
  if (descriptor_ == nullptr || nonblocking(fd_, descriptor_)) {
    errno = EAGAIN;
    return false;
  }
  until_ = bounded_by(fd_, direction_.timeout_option);
  begun_ = true;
  return true;
}

bool BlockingCall::suspend() noexcept {
  FdWait wait{.fd = fd_, .events = direction_.events, .exclusive = direction_.exclusive};
  const Instant call_until = call_deadline(*descriptor_);
  Ended ended = wait_for({&wait, 1}, std::min(until_, call_until), {.what = direction_.what, .fd = fd_});
  if (ended == Ended::restarted) return true;
  woken_ = ended == Ended::ready;
  if (ended == Ended::timeout && call_until < until_) ended = Ended::deadline;
  if (ended == Ended::deadline) call_timed_out(*descriptor_);
  if (woken_ && descriptor_->generation.load(std::memory_order_relaxed) == generation_) return true;
  errno = woken_ ? EBADF : to_errno(ended, EAGAIN);
  woken_ = false;
  return false;
}

bool breathe(fiber::Scheduler& scheduler) noexcept {
  try {
    scheduler.breathe();
    return true;
  } catch (const DeadlineExceeded&) {
    errno = ETIMEDOUT;
  } catch (const Cancelled&) {
    errno = ECANCELED;
  } catch (const std::exception&) {
    errno = ENOMEM;
  }
  return false;
}

Instant bounded_by(int fd, int timeout_option) noexcept {
  const int error = errno;
  timeval bound{};
  socklen_t size = sizeof bound;
  const bool known = ::getsockopt(fd, SOL_SOCKET, timeout_option, &bound, &size) == 0;
  errno = error;
  if (!known || (bound.tv_sec == 0 && bound.tv_usec == 0)) return Instant::max();
  return fiber::time_in(std::chrono::seconds(bound.tv_sec) + std::chrono::microseconds(bound.tv_usec));
}

}  // namespace penstock::interpose
