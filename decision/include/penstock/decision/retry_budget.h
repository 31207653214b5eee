#pragma once

#include <array>
#include <cstdint>

#include "penstock/decision/time.h"

// Retries as a share of the calls of the last ten seconds, plus a floor of one a second (as Finagle's RetryBudget:
// https://twitter.github.io/finagle/guide/Clients.html#retries). Not thread-safe.
namespace penstock::decision {

class RetryBudget {
 public:
  // ratio in [0,1]; 0 allows no retry at all.
  explicit RetryBudget(double ratio);
  void set_ratio(double ratio);
  // First attempts.
  void call(Instant now, std::int64_t calls = 1);
  // True and spent, or false.
  bool try_retry(Instant now);

 private:
  static constexpr int kSlots = 10;
  struct Slot {
    std::int64_t second = -1;
    std::int64_t calls = 0;
    std::int64_t retries = 0;
  };
  Slot& slot(Instant now);
  double ratio_;
  std::array<Slot, kSlots> slots_{};
};

}  // namespace penstock::decision
