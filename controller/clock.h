#pragma once

#include <chrono>
#include <cstdint>

#include "penstock/decision/time.h"

namespace penstock::controller {

// Time and chance, handed to everything in the controller that needs them. Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  // Monotonic: leases, ages, intervals.
  virtual decision::Instant now() const = 0;
  // What people and the store see.
  virtual std::chrono::system_clock::time_point wall() const = 0;
  // Uniform over all 64-bit values.
  virtual std::uint64_t random() = 0;
};

// The process's own.
Clock& system_clock();

}  // namespace penstock::controller
