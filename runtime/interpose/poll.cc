#include <errno.h>
#include <signal.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>
#include <memory>
#include <new>

#include "runtime/interpose/blocking_call.h"
#include "runtime/interpose/epoll_set.h"
#include "runtime/interpose/guarded_connection.h"
#include "runtime/interpose/interposed.h"
#include "runtime/interpose/libc.h"
#include "runtime/interpose/readiness.h"
#include "runtime/interpose/threads/signals.h"

// poll, ppoll, epoll_wait, epoll_pwait, epoll_pwait2.

extern "C" [[noreturn]] void __chk_fail(void);

namespace penstock::interpose {
namespace {

// What the system is asked by poll() and its kin while nothing waits: `ask()` must not wait either; it may change what
// is waited for.
template <class Ask>
int ask_until_ready(fiber::Scheduler& scheduler, FdWait* waits, const std::size_t& count, Instant until, bool signals,
                    fiber::WaitingFor what, Ask&& ask) noexcept {
  if (!breathe(scheduler)) return -1;
  for (;;) {
    const int ready = ask();
    if (ready != 0) return ready;
    if (until == Instant::min()) return 0;
    // With a signal mask of the call's own, the signals that it lets through are taken when the system is asked.
    const Instant call_until = call_deadline({waits, count});
    Instant at = std::min(until, call_until);
    if (signals) at = std::min(at, scheduler.recent() + kAskForSignalsAfter);
    Ended ended = wait_for({waits, count}, at, what);
    if (ended == Ended::timeout && at == call_until && at < until && calls_timed_out({waits, count})) {
      ended = Ended::deadline;
    }
    if (ended == Ended::ready || ended == Ended::closed || (ended == Ended::timeout && at < until)) continue;
    if (ended == Ended::timeout) return ask();
    if (ended == Ended::deadline) calls_timed_out({waits, count});
    errno = to_errno(ended, EINTR);
    return -1;
  }
}

int fail(int error) noexcept {
  errno = error;
  return -1;
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
  return with_errno_of<int>([&] {
    return ask_until_ready(scheduler, waits.data(), used, until, signals,
                           {.what = "poll()", .fd = used == 1 ? waits.data()->fd : -1}, ask);
  });
}

// For whom a set is readable when something in it is.
void show_sets(const pollfd* fds, nfds_t count) noexcept {
  if (!EpollSet::any()) return;
  for (nfds_t i = 0; i < count; ++i) EpollSet::give_to_kernel(fds[i].fd);
}

int epoll_on_fiber(fiber::Scheduler& scheduler, int epoll_fd, epoll_event* events, int most, Instant until,
                   const sigset_t* mask) noexcept {
  const MaskOfCall masked(mask);
  const sigset_t* const for_system = masked.for_system();
  const EpollSet::Use use(epoll_fd);
  EpollSet::Kept kept;
  std::array<FdWait, 1 + EpollSet::kMost> waits;
  std::size_t count = 1;
  waits[0] = {.fd = epoll_fd, .events = EPOLLIN};
  const auto ask = [&] {
    int found = EpollSet::ask(epoll_fd, events, most, nullptr, kept);
    // epoll_pwait() that does not wait lets no signals through.
    constexpr timespec kNow{};
    if (found == 0 && for_system != nullptr) found = real::ppoll(nullptr, 0, &kNow, for_system);
    if (found == 0 && masked.interrupted()) found = fail(EINTR);
    // A connection wakes one of those that wait for its listener; the next turn another, if it is still there.
    for (std::size_t i = 0; i < kept.count; ++i) {
      waits[1 + i] = {.fd = kept.listeners[i].fd, .events = EPOLLIN, .exclusive = true};
    }
    count = 1 + kept.count;
    return found;
  };
  const int found = with_errno_of<int>([&] {
    return ask_until_ready(scheduler, waits.data(), count, until, for_system != nullptr,
                           {.what = "epoll_wait()", .fd = epoll_fd}, ask);
  });
  const int error = errno;
  for (std::size_t i = 0; i < kept.count; ++i) pass_on(kept.listeners[i].fd);
  errno = error;
  return found;
}

// Of a set that keeps listeners, on a plain thread or in a forked child.
int epoll_on_thread(int epoll_fd, epoll_event* events, int most, Instant until, const sigset_t* mask) noexcept {
  for (;;) {
    EpollSet::Kept kept;
    const int found = EpollSet::ask(epoll_fd, events, most, mask, kept);
    if (found != 0 || until == Instant::min()) return found;
    std::array<pollfd, 1 + EpollSet::kMost> fds;
    fds[0] = {epoll_fd, POLLIN, 0};
    for (std::size_t i = 0; i < kept.count; ++i) fds[1 + i] = {kept.listeners[i].fd, POLLIN, 0};
    timespec left{};
    if (until != Instant::max()) {
      const auto now = std::chrono::steady_clock::now();
      if (now >= until) return 0;
      const auto whole = std::chrono::duration_cast<std::chrono::seconds>(until - now);
      left = {whole.count(), std::chrono::duration_cast<std::chrono::nanoseconds>(until - now - whole).count()};
    }
    if (real::ppoll(fds.data(), 1 + kept.count, until != Instant::max() ? &left : nullptr, mask) < 0) return -1;
  }
}

}  // namespace
}  // namespace penstock::interpose

using namespace penstock;
using namespace penstock::interpose;

PENSTOCK_INTERPOSED int poll(pollfd* fds, nfds_t count, int timeout) {
  show_sets(fds, count);
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
  show_sets(fds, count);
  fiber::Scheduler* scheduler = valid_timeout(timeout) ? cooperative() : nullptr;
  if (scheduler == nullptr) return real::ppoll(fds, count, timeout, mask);
  const MaskOfCall masked(mask);
  return poll_on_fiber(*scheduler, fds, count, from_now(timeout), masked.for_system() != nullptr, [&] {
    constexpr timespec kNow{};
    const int ready = real::ppoll(fds, count, &kNow, masked.for_system());
    return ready == 0 && masked.interrupted() ? fail(EINTR) : ready;
  });
}

PENSTOCK_INTERPOSED int __ppoll_chk(pollfd* fds, nfds_t count, const timespec* timeout, const sigset_t* mask,
                                    size_t room) {
  if (room / sizeof *fds < count) __chk_fail();
  return ppoll(fds, count, timeout, mask);
}

PENSTOCK_INTERPOSED int epoll_wait(int epoll_fd, epoll_event* events, int most, int timeout) {
  fiber::Scheduler* scheduler = timeout != 0 ? cooperative() : nullptr;
  if (scheduler != nullptr) {
    return epoll_on_fiber(*scheduler, epoll_fd, events, most, milliseconds_from_now(timeout), nullptr);
  }
  if (!EpollSet::keeps(epoll_fd)) return real::epoll_wait(epoll_fd, events, most, timeout);
  return epoll_on_thread(epoll_fd, events, most, milliseconds_from_now(timeout), nullptr);
}

PENSTOCK_INTERPOSED int epoll_pwait(int epoll_fd, epoll_event* events, int most, int timeout, const sigset_t* mask) {
  fiber::Scheduler* scheduler = timeout != 0 ? cooperative() : nullptr;
  if (scheduler != nullptr) {
    return epoll_on_fiber(*scheduler, epoll_fd, events, most, milliseconds_from_now(timeout), mask);
  }
  if (!EpollSet::keeps(epoll_fd)) return real::epoll_pwait(epoll_fd, events, most, timeout, mask);
  return epoll_on_thread(epoll_fd, events, most, milliseconds_from_now(timeout), mask);
}

PENSTOCK_INTERPOSED int epoll_pwait2(int epoll_fd, epoll_event* events, int most, const timespec* timeout,
                                     const sigset_t* mask) {
  const bool valid = valid_timeout(timeout);
  fiber::Scheduler* scheduler = valid ? cooperative() : nullptr;
  if (scheduler != nullptr) return epoll_on_fiber(*scheduler, epoll_fd, events, most, from_now(timeout), mask);
  if (!valid || !EpollSet::keeps(epoll_fd)) return real::epoll_pwait2(epoll_fd, events, most, timeout, mask);
  return epoll_on_thread(epoll_fd, events, most, from_now(timeout), mask);
}
