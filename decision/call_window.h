#pragma once

#include <array>
#include <cstdint>

#include "penstock/decision/time.h"

namespace penstock::decision {

// Calls of the last `window`, in buckets of a tenth of it: what the explicit rules of a breaker look at.
class CallWindow {
 public:
  struct Sums {
    // Calls that ended with an answer, an error or a time-out, and those of them that failed.
    std::int64_t ended = 0;
    std::int64_t failed = 0;
    // Calls of which it is known whether they are slow (those that ended, and those in flight that are already slow).
    std::int64_t timed = 0;
    std::int64_t slow = 0;
  };

  explicit CallWindow(Duration window) : window_(window) {}
  // Counts start anew when the length changes.
  void set_window(Duration window);
  void clear() { buckets_ = {}; }

  // The bucket of now, to be added to.
  Sums& at(Instant now);
  Sums sums(Instant now) const;

 private:
  static constexpr int kBuckets = 10;
  struct Bucket {
    std::int64_t number = -1;
    Sums sums;
  };
  std::int64_t number(Instant now) const { return now.time_since_epoch() / (window_ / kBuckets); }

  Duration window_;
  std::array<Bucket, kBuckets> buckets_{};
};

}  // namespace penstock::decision
