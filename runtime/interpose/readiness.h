#pragma once

#include <time.h>

#include <chrono>

#include "penstock/error.h"
#include "runtime/fiber/fiber_state.h"

namespace penstock::interpose {

// How often a call that lets signals through while it waits looks for them.
inline constexpr auto kAskForSignalsAfter = std::chrono::milliseconds(20);

// Until when a call waits that was given a time; Instant::min(): not at all, Instant::max(): for ever.
inline Instant milliseconds_from_now(int timeout) noexcept {
  if (timeout == 0) return Instant::min();
  return timeout < 0 ? Instant::max() : fiber::time_in(std::chrono::milliseconds(timeout));
}

// False: the system is to say what is wrong with it.
inline bool valid_timeout(const timespec* timeout) noexcept {
  return timeout == nullptr || (timeout->tv_sec >= 0 && timeout->tv_nsec >= 0 && timeout->tv_nsec < 1'000'000'000);
}

inline Instant from_now(const timespec* timeout) noexcept {
  if (timeout == nullptr || timeout->tv_sec > std::chrono::seconds(std::chrono::hours(24 * 365 * 100)).count()) {
    return Instant::max();
  }
  const Duration d = std::chrono::seconds(timeout->tv_sec) + std::chrono::nanoseconds(timeout->tv_nsec);
  return d == Duration::zero() ? Instant::min() : fiber::time_in(d);
}

}  // namespace penstock::interpose
