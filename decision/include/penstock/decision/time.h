#pragma once

#include <chrono>
#include <cstdint>

// Time enters every decision as an argument; nothing in this library reads a clock.
namespace penstock::decision {

using Duration = std::chrono::nanoseconds;
using Instant = std::chrono::steady_clock::time_point;

// Seconds as a double, for formulas.
constexpr double seconds(Duration d) { return std::chrono::duration<double>(d).count(); }
constexpr Duration from_seconds(double s) {
  return std::chrono::duration_cast<Duration>(std::chrono::duration<double>(s));
}
// Microseconds of the clock: sums of thousands of these for a century of uptime fit.
constexpr std::int64_t micros(Instant t) {
  return std::chrono::duration_cast<std::chrono::microseconds>(t.time_since_epoch()).count();
}

}  // namespace penstock::decision
