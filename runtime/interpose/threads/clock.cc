#include "runtime/interpose/threads/clock.h"

#include <chrono>

namespace penstock::interpose {

std::optional<Instant> instant_of(clockid_t clock, const timespec& at) noexcept {
  constexpr long kSecond = 1'000'000'000;
  // Beyond it, for ever: about a century.
  constexpr time_t kFarAway = 3'000'000'000;
  if (at.tv_nsec < 0 || at.tv_nsec >= kSecond) return std::nullopt;
  if (clock != CLOCK_REALTIME && clock != CLOCK_MONOTONIC) return std::nullopt;
  timespec now;
  ::clock_gettime(clock, &now);
  if (at.tv_sec < 0) return Instant::min();
  const time_t seconds = at.tv_sec - now.tv_sec;
  if (seconds > kFarAway) return Instant::max();
  if (seconds < -kFarAway) return Instant::min();
  const auto left = std::chrono::seconds(seconds) + std::chrono::nanoseconds(at.tv_nsec - now.tv_nsec);
  return std::chrono::steady_clock::now() + left;
}

}  // namespace penstock::interpose
