#include <errno.h>
#include <time.h>

#include <algorithm>
#include <chrono>
#include <climits>

#include "runtime/fiber/fiber_state.h"
#include "runtime/interpose/blocking_call.h"
#include "runtime/interpose/interposed.h"
#include "runtime/interpose/libc.h"

// sleep, usleep, nanosleep, clock_nanosleep, thrd_sleep, pause. When the request's deadline ends a sleep errno is
// ETIMEDOUT, not EINTR, after which programs sleep on.

extern "C" int thrd_sleep(const timespec*, timespec*);
PENSTOCK_REAL(thrd_sleep)

namespace penstock::interpose {
namespace {

constexpr long kSecond = 1'000'000'000;

bool valid(const timespec* t) noexcept { return t->tv_sec >= 0 && t->tv_nsec >= 0 && t->tv_nsec < kSecond; }

Duration to_duration(const timespec& t) noexcept {
  constexpr auto kLongest = std::chrono::hours(24 * 365 * 100);
  if (t.tv_sec >= std::chrono::seconds(kLongest).count()) return kLongest;
  return std::chrono::seconds(t.tv_sec) + std::chrono::nanoseconds(t.tv_nsec);
}

timespec to_timespec(Duration d) noexcept {
  d = std::max(d, Duration::zero());
  const auto whole = std::chrono::duration_cast<std::chrono::seconds>(d);
  return {static_cast<time_t>(whole.count()), static_cast<long>((d - whole).count())};
}

// 0, or an errno and what is left.
int sleep_on_fiber(fiber::Scheduler& scheduler, Duration d, timespec* left) noexcept {
  if (d <= Duration::zero()) {
    scheduler.yield();
    return 0;
  }
  const Instant until = fiber::time_in(d);
  const Ended ended = wait_until(until, "a sleep");
  if (ended == Ended::timeout) return 0;
  if (left != nullptr) *left = to_timespec(std::min<Duration>(d, until - scheduler.recent()));
  return to_errno(ended, EINTR);
}

// How long until the clock shows that time.
Duration time_until(clockid_t clock, const timespec& at) noexcept {
  timespec now{};
  ::clock_gettime(clock, &now);
  return to_duration(at) - to_duration(now);
}

int clock_sleep(fiber::Scheduler& scheduler, clockid_t clock, int flags, const timespec* request,
                timespec* left) noexcept {
  if ((flags & TIMER_ABSTIME) == 0) return sleep_on_fiber(scheduler, to_duration(*request), left);
  for (;;) {
    const Duration d = time_until(clock, *request);
    if (d <= Duration::zero()) return 0;
    // A clock that is set meanwhile is noticed by the second.
    const Duration step = clock == CLOCK_MONOTONIC ? d : std::min<Duration>(d, std::chrono::seconds(1));
    if (const int error = sleep_on_fiber(scheduler, step, nullptr)) return error;
  }
}

}  // namespace
}  // namespace penstock::interpose

using namespace penstock;
using namespace penstock::interpose;

PENSTOCK_INTERPOSED int nanosleep(const timespec* request, timespec* left) {
  fiber::Scheduler* scheduler = cooperative();
  if (scheduler == nullptr || !valid(request)) return real::nanosleep(request, left);
  const int error = sleep_on_fiber(*scheduler, to_duration(*request), left);
  if (error == 0) return 0;
  errno = error;
  return -1;
}

PENSTOCK_INTERPOSED int clock_nanosleep(clockid_t clock, int flags, const timespec* request, timespec* left) {
  fiber::Scheduler* scheduler = cooperative();
  const bool ours = clock == CLOCK_MONOTONIC || clock == CLOCK_REALTIME || clock == CLOCK_BOOTTIME;
  if (scheduler == nullptr || !ours || !valid(request)) return real::clock_nanosleep(clock, flags, request, left);
  return clock_sleep(*scheduler, clock, flags, request, left);
}

PENSTOCK_INTERPOSED int thrd_sleep(const timespec* request, timespec* left) {
  fiber::Scheduler* scheduler = cooperative();
  if (scheduler == nullptr || !valid(request)) return real::thrd_sleep(request, left);
  const int error = sleep_on_fiber(*scheduler, to_duration(*request), left);
  if (error == 0) return 0;
  errno = error;
  return error == EINTR ? -1 : -2;
}

PENSTOCK_INTERPOSED int usleep(useconds_t microseconds) {
  fiber::Scheduler* scheduler = cooperative();
  if (scheduler == nullptr) return real::usleep(microseconds);
  const int error = sleep_on_fiber(*scheduler, std::chrono::microseconds(microseconds), nullptr);
  if (error == 0) return 0;
  errno = error;
  return -1;
}

PENSTOCK_INTERPOSED unsigned sleep(unsigned seconds) {
  fiber::Scheduler* scheduler = cooperative();
  if (scheduler == nullptr) return real::sleep(seconds);
  timespec left{};
  const int error = sleep_on_fiber(*scheduler, std::chrono::seconds(seconds), &left);
  if (error == 0) return 0;
  errno = error;
  return static_cast<unsigned>(left.tv_sec + (left.tv_nsec >= kSecond / 2 ? 1 : 0));
}

PENSTOCK_INTERPOSED int pause() {
  fiber::Scheduler* scheduler = cooperative();
  if (scheduler == nullptr) return real::pause();
  errno = to_errno(wait_until(Instant::max(), "a signal"), EINTR);
  return -1;
}
