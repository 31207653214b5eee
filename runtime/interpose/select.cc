#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/select.h>
#include <sys/time.h>

#include <algorithm>
#include <chrono>
#include <cstddef>
#include <new>
#include <vector>

#include "runtime/interpose/blocking_call.h"
#include "runtime/interpose/epoll_set.h"
#include "runtime/interpose/guarded_connection.h"
#include "runtime/interpose/interposed.h"
#include "runtime/interpose/libc.h"
#include "runtime/interpose/readiness.h"
#include "runtime/interpose/threads/signals.h"

// select and pselect.

namespace penstock::interpose {
namespace {

constexpr int kSets = 3;
// What poll() calls the conditions that the three sets are asked for.
constexpr std::uint32_t kEvents[kSets] = {EPOLLIN | EPOLLRDHUP, EPOLLOUT, EPOLLPRI};
constexpr int kBits = static_cast<int>(8 * sizeof(unsigned long));

// The bits of a program's sets, which may be larger than an fd_set.
class Sets {
 public:
  // Throws std::bad_alloc.
  Sets(int count, fd_set* (&sets)[kSets]) : words_(static_cast<std::size_t>((count + kBits - 1) / kBits)), sets_(sets) {
    asked_.reserve(kSets * words_);
    for (fd_set* set : sets_) {
      const auto* bits = reinterpret_cast<const unsigned long*>(set);
      for (std::size_t i = 0; i < words_; ++i) asked_.push_back(set != nullptr ? bits[i] : 0);
    }
  }

  void restore() noexcept {
    for (std::size_t i = 0; i < kSets; ++i) {
      if (sets_[i] != nullptr && words_ != 0) memcpy(sets_[i], &asked_[i * words_], words_ * sizeof(unsigned long));
    }
  }

  // Throws std::bad_alloc.
  std::vector<FdWait> waits(int count) const {
    std::vector<FdWait> waits;
    for (std::size_t word = 0; word < words_; ++word) {
      unsigned long any = asked_[word] | asked_[words_ + word] | asked_[2 * words_ + word];
      for (; any != 0; any &= any - 1) {
        const int bit = __builtin_ctzl(any);
        const int fd = static_cast<int>(word) * kBits + bit;
        if (fd >= count) break;
        std::uint32_t events = 0;
        for (std::size_t set = 0; set < kSets; ++set) {
          if ((asked_[set * words_ + word] >> bit & 1) != 0) events |= kEvents[set];
        }
        waits.push_back({.fd = fd, .events = events});
      }
    }
    return waits;
  }

 private:
  const std::size_t words_;
  fd_set* (&sets_)[kSets];
  std::vector<unsigned long> asked_;
};

// For whom an epoll set is readable when something in it is.
void show_sets(int count, const fd_set* readable) noexcept {
  if (!EpollSet::any() || readable == nullptr) return;
  const auto* bits = reinterpret_cast<const unsigned long*>(readable);
  for (int fd = 0; fd < count; ++fd) {
    if ((bits[fd / kBits] >> fd % kBits & 1) != 0) EpollSet::give_to_kernel(fd);
  }
}

// `ask()` looks at the sets without a wait.
template <class Ask>
int select_on_fiber(fiber::Scheduler& scheduler, int count, fd_set* (&sets)[kSets], Instant until, bool signals,
                    Ask&& ask) noexcept {
  if (!breathe(scheduler)) return -1;
  const int before = errno;
  try {
    Sets asked(count, sets);
    int ready = ask();
    if (ready != 0 || until == Instant::min()) return ready;
    std::vector<FdWait> waits = asked.waits(count);
    for (;;) {
      const Instant call_until = call_deadline(waits);
      Instant at = std::min(until, call_until);
      if (signals) at = std::min(at, scheduler.recent() + kAskForSignalsAfter);
      Ended ended = wait_for(waits, at, {.what = "select()", .fd = waits.size() == 1 ? waits[0].fd : -1});
      asked.restore();
      errno = before;
      if (ended == Ended::timeout && at == call_until && at < until && calls_timed_out(waits)) ended = Ended::deadline;
      if (ended == Ended::deadline) calls_timed_out(waits);
      if (ended == Ended::deadline || ended == Ended::cancelled) {
        errno = to_errno(ended, EINTR);
        return -1;
      }
      ready = ask();
      if (ready != 0 || (ended == Ended::timeout && at == until)) return ready;
    }
  } catch (const std::bad_alloc&) {
    errno = ENOMEM;
    return -1;
  }
}

}  // namespace
}  // namespace penstock::interpose

using namespace penstock;
using namespace penstock::interpose;

PENSTOCK_INTERPOSED int select(int count, fd_set* readable, fd_set* writable, fd_set* exceptional, timeval* timeout) {
  show_sets(count, readable);
  const bool valid = count >= 0 && (timeout == nullptr || (timeout->tv_sec >= 0 && timeout->tv_usec >= 0));
  fiber::Scheduler* scheduler = valid ? cooperative() : nullptr;
  if (scheduler == nullptr) return real::select(count, readable, writable, exceptional, timeout);
  timespec given{};
  if (timeout != nullptr) {
    given = {timeout->tv_sec + timeout->tv_usec / 1'000'000, timeout->tv_usec % 1'000'000 * 1'000};
  }
  const Instant until = from_now(timeout != nullptr ? &given : nullptr);
  fd_set* sets[kSets] = {readable, writable, exceptional};
  const int ready = select_on_fiber(*scheduler, count, sets, until, false, [&] {
    timeval now{};
    return real::select(count, readable, writable, exceptional, &now);
  });
  // As Linux does it.
  if (timeout != nullptr && until != Instant::max()) {
    const auto left =
        until == Instant::min() ? Duration::zero() : std::max(Duration::zero(), until - fiber::recent_now());
    const auto whole = std::chrono::duration_cast<std::chrono::seconds>(left);
    timeout->tv_sec = whole.count();
    timeout->tv_usec = std::chrono::duration_cast<std::chrono::microseconds>(left - whole).count();
  }
  return ready;
}

PENSTOCK_INTERPOSED int pselect(int count, fd_set* readable, fd_set* writable, fd_set* exceptional,
                                const timespec* timeout, const sigset_t* mask) {
  show_sets(count, readable);
  fiber::Scheduler* scheduler = count >= 0 && valid_timeout(timeout) ? cooperative() : nullptr;
  if (scheduler == nullptr) return real::pselect(count, readable, writable, exceptional, timeout, mask);
  fd_set* sets[kSets] = {readable, writable, exceptional};
  const MaskOfCall masked(mask);
  return select_on_fiber(*scheduler, count, sets, from_now(timeout), masked.for_system() != nullptr, [&] {
    constexpr timespec kNow{};
    const int ready = real::pselect(count, readable, writable, exceptional, &kNow, masked.for_system());
    if (ready != 0 || !masked.interrupted()) return ready;
    errno = EINTR;
    return -1;
  });
}
