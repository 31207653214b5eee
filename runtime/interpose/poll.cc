#include <errno.h>
#include <signal.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <memory>
#include <new>

#include "runtime/interpose/blocking_call.h"
#include "runtime/interpose/guarded_connection.h"
#include "runtime/interpose/interposed.h"
#include "runtime/interpose/libc.h"
#include "runtime/interpose/readiness.h"

// poll, ppoll, epoll_wait, epoll_pwait, epoll_pwait2.

extern "C" [[noreturn]] void __chk_fail(void);

namespace penstock::interpose {
namespace {

// What the system is asked by poll() and its kin while nothing waits: `ask()` must not wait either.
template <class Ask>
int ask_until_ready(fiber::Scheduler& scheduler, FdWait* waits, std::size_t count, Instant until, bool signals,
                    const char* what, Ask&& ask) noexcept {
  if (!breathe(scheduler)) return -1;
  for (;;) {
    const int ready = ask();
    if (ready != 0) return ready;
    if (until == Instant::min()) return 0;
    // With a signal mask of the call's own, the signals that it lets through are taken when the system is asked.
    const Instant call_until = call_deadline({waits, count});
    Instant at = std::min(until, call_until);
    if (signals) at = std::min(at, scheduler.recent() + kAskForSignalsAfter);
    Ended ended = wait_for({waits, count}, at, {.what = what, .fd = count == 1 ? waits->fd : -1});
    if (ended == Ended::timeout && at == call_until && at < until) ended = Ended::deadline;
    if (ended == Ended::ready || ended == Ended::closed || (ended == Ended::timeout && at < until)) continue;
    if (ended == Ended::timeout) return ask();
    if (ended == Ended::deadline) calls_timed_out({waits, count});
    errno = to_errno(ended, EINTR);
    return -1;
  }
}

class Waits {
 public:
  explicit Waits(std::size_t count) noexcept : size_(count) {
    if (count > inline_.size()) more_.reset(new (std::nothrow) FdWait[count]);
  }
  explicit operator bool() const noexcept { return size_ <= inline_.size() || more_ != nullptr; }
  FdWait* data() noexcept { return more_ != nullptr ? more_.get() : inline_.data(); }

 private:
  const std::size_t size_;
  std::array<FdWait, 3> inline_;
  std::unique_ptr<FdWait[]> more_;
};

template <class Ask>
int poll_on_fiber(fiber::Scheduler& scheduler, const pollfd* fds, nfds_t count, Instant until, bool signals,
                  Ask&& ask) noexcept {
  std::size_t used = 0;
  for (nfds_t i = 0; i < count; ++i) used += fds[i].fd >= 0 ? 1 : 0;
  Waits waits(used);
  if (!waits) {
    errno = ENOMEM;
    return -1;
  }
  FdWait* next = waits.data();
  for (nfds_t i = 0; i < count; ++i) {
    if (fds[i].fd < 0) continue;
    *next++ = {.fd = fds[i].fd, .events = static_cast<std::uint16_t>(fds[i].events)};
  }
  return with_errno_of<int>(
      [&] { return ask_until_ready(scheduler, waits.data(), used, until, signals, "poll()", ask); });
}

template <class Ask>
int epoll_on_fiber(fiber::Scheduler& scheduler, int epoll_fd, Instant until, bool signals, Ask&& ask) noexcept {
  FdWait wait{.fd = epoll_fd, .events = EPOLLIN};
  return with_errno_of<int>([&] { return ask_until_ready(scheduler, &wait, 1, until, signals, "epoll_wait()", ask); });
}

}  // namespace
}  // namespace penstock::interpose

using namespace penstock;
using namespace penstock::interpose;

PENSTOCK_INTERPOSED int poll(pollfd* fds, nfds_t count, int timeout) {
  fiber::Scheduler* scheduler = timeout != 0 ? cooperative() : nullptr;
  if (scheduler == nullptr) return real::poll(fds, count, timeout);
  return poll_on_fiber(*scheduler, fds, count, milliseconds_from_now(timeout), false,
                       [&] { return real::poll(fds, count, 0); });
}

PENSTOCK_INTERPOSED int __poll_chk(pollfd* fds, nfds_t count, int timeout, size_t room) {
  if (room / sizeof *fds < count) __chk_fail();
  return poll(fds, count, timeout);
}

PENSTOCK_INTERPOSED int ppoll(pollfd* fds, nfds_t count, const timespec* timeout, const sigset_t* mask) {
  fiber::Scheduler* scheduler = valid_timeout(timeout) ? cooperative() : nullptr;
  if (scheduler == nullptr) return real::ppoll(fds, count, timeout, mask);
  return poll_on_fiber(*scheduler, fds, count, from_now(timeout), mask != nullptr, [&] {
    constexpr timespec kNow{};
    return real::ppoll(fds, count, &kNow, mask);
  });
}

PENSTOCK_INTERPOSED int __ppoll_chk(pollfd* fds, nfds_t count, const timespec* timeout, const sigset_t* mask,
                                    size_t room) {
  if (room / sizeof *fds < count) __chk_fail();
  return ppoll(fds, count, timeout, mask);
}

PENSTOCK_INTERPOSED int epoll_wait(int epoll_fd, epoll_event* events, int most, int timeout) {
  fiber::Scheduler* scheduler = timeout != 0 ? cooperative() : nullptr;
  if (scheduler == nullptr) return real::epoll_wait(epoll_fd, events, most, timeout);
  return epoll_on_fiber(*scheduler, epoll_fd, milliseconds_from_now(timeout), false,
                        [&] { return real::epoll_wait(epoll_fd, events, most, 0); });
}

PENSTOCK_INTERPOSED int epoll_pwait(int epoll_fd, epoll_event* events, int most, int timeout, const sigset_t* mask) {
  fiber::Scheduler* scheduler = timeout != 0 ? cooperative() : nullptr;
  if (scheduler == nullptr) return real::epoll_pwait(epoll_fd, events, most, timeout, mask);
  return epoll_on_fiber(*scheduler, epoll_fd, milliseconds_from_now(timeout), mask != nullptr,
                        [&] { return real::epoll_pwait(epoll_fd, events, most, 0, mask); });
}

PENSTOCK_INTERPOSED int epoll_pwait2(int epoll_fd, epoll_event* events, int most, const timespec* timeout,
                                     const sigset_t* mask) {
  fiber::Scheduler* scheduler = valid_timeout(timeout) ? cooperative() : nullptr;
  if (scheduler == nullptr) return real::epoll_pwait2(epoll_fd, events, most, timeout, mask);
  return epoll_on_fiber(*scheduler, epoll_fd, from_now(timeout), mask != nullptr,
                        [&] { return real::epoll_pwait(epoll_fd, events, most, 0, mask); });
}
