#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>

namespace penstock::decision {

// Memory of a node, in bytes.
struct MemoryState {
  // In use, and in use when nothing is in flight.
  std::int64_t used = 0;
  std::int64_t base = 0;
  // Of the process or its control group; 0: not known.
  std::int64_t limit = 0;
  // What the policy gives to requests in flight, and what they are estimated to use of it.
  std::int64_t budget = 0;
  std::int64_t in_requests = 0;
};

// Of the limit this stays free: allocators fragment, and the kernel's buffers of connections count as well.
inline constexpr double kMemoryReserve = 0.1;

// How scarce memory is, in [0,1]: the larger of the budget's used share and the used share of what lies between base
// and limit. 0 is plenty, 1 is none left. Breakers become stricter with its square.
inline double memory_pressure(const MemoryState& memory) {
  double pressure = 0;
  if (memory.budget > 0) {
    pressure = static_cast<double>(memory.in_requests) / static_cast<double>(memory.budget);
  }
  if (memory.limit > 0) {
    const double usable = (1 - kMemoryReserve) * static_cast<double>(memory.limit) - static_cast<double>(memory.base);
    const auto more = static_cast<double>(memory.used - memory.base);
    pressure = std::max(pressure, usable > 0 ? more / usable : 1.0);
  }
  return std::clamp(pressure, 0.0, 1.0);
}

// What requests in flight may use at most: the budget, within what the limit leaves. `budget` where no limit is known.
inline std::int64_t memory_for_requests(const MemoryState& memory) {
  if (memory.limit <= 0) return memory.budget;
  const auto usable = static_cast<std::int64_t>((1 - kMemoryReserve) * static_cast<double>(memory.limit)) - memory.base;
  const std::int64_t left = std::max<std::int64_t>(usable, 0);
  return memory.budget > 0 ? std::min(left, memory.budget) : left;
}

// The emergency brake: where the estimates above were wrong, and memory in use has come to what shall stay free. From
// then on no more requests are in flight than there were, and fewer as long as it goes on growing. What ended requests
// leave to the allocator is used again by as many new ones, so that memory which never falls again stops nothing else.
// Not thread-safe.
class MemoryGuard {
 public:
  // Every 100 ms. True: what is not critical is refused until the next.
  bool tick(const MemoryState& memory, int in_flight) {
    const double full = (1 - kMemoryReserve) * static_cast<double>(memory.limit);
    const auto used = static_cast<double>(memory.used);
    if (memory.limit <= 0 || used < kRelieved * full) {
      most_.reset();
    } else if (used >= full && (!most_ || memory.used > last_used_)) {
      most_ = std::max(kFewest, std::min(in_flight, most_ ? static_cast<int>(kFewer * *most_) : in_flight));
    } else if (most_ && used < full) {
      most_ = *most_ + 1 + *most_ / 50;
    }
    last_used_ = memory.used;
    return most_ && in_flight >= *most_;
  }
  // Requests in flight; unset: any.
  std::optional<int> most() const { return most_; }

 private:
  static constexpr double kRelieved = 0.9;
  static constexpr double kFewer = 0.97;
  // So many are always let in: a limit below what the process needs by itself stops nothing else.
  static constexpr int kFewest = 16;

  std::optional<int> most_;
  std::int64_t last_used_ = 0;
};

}  // namespace penstock::decision
