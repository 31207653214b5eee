#pragma once

#include <array>
#include <cstdint>

#include "penstock/decision/prefetch.h"
#include "penstock/decision/time.h"

// Retries as a share of the calls of the last ten seconds, plus a floor of one a second (as Finagle's RetryBudget:
// https://twitter.github.io/finagle/guide/Clients.html#retries), plus what retries have earned: while the upstream is
// well, each that succeeded pays for kEarned more. So a fault that retries cure is cured, and one that they feed is
// not: where fewer than 1 / kEarned of the retries succeed, or as soon as calls become slow or are refused, the share
// alone counts. Not thread-safe.
namespace penstock::decision {

class RetryBudget {
 public:
  // ratio in [0,1]; 0 allows no retry at all.
  explicit RetryBudget(double ratio);
  void set_ratio(double ratio);
  // First attempts.
  void call(Instant now, std::int64_t calls = 1);
  // A retry was answered.
  void succeeded(Instant now);
  // True and spent, or false. `well`: the upstream is as fast as ever and refuses nothing.
  bool try_retry(Instant now, bool well = false);

  static constexpr double kEarned = 2.5;

  // What call() writes is one of these.
  void prefetch() const { decision::prefetch(slots_.data(), slots_.data() + kSlots); }

 private:
  static constexpr int kSlots = 10;
  struct Slot {
    std::int64_t second = -1;
    std::int64_t calls = 0;
    std::int64_t retries = 0;
    std::int64_t succeeded = 0;
  };
  Slot& slot(Instant now);
  double ratio_;
  std::array<Slot, kSlots> slots_{};
};

}  // namespace penstock::decision
