#pragma once

#include <array>
#include <cstdint>

#include "penstock/decision/prefetch.h"
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

    Sums& operator+=(const Sums& more);
    Sums& operator-=(const Sums& less);
  };

  explicit CallWindow(Duration window) : window_(window) {}
  // Counts start anew when the length changes.
  void set_window(Duration window);
  void clear();

  void add(const Sums& calls, Instant now);
  // What sums() reads, as a rule.
  void prefetch() const { decision::prefetch(this, buckets_.data()); }
  // Costs a sum of buckets when a bucket has begun since it was last asked, or `now` lies before; else nothing.
  Sums sums(Instant now);

 private:
  static constexpr int kBuckets = 10;
  struct Bucket {
    std::int64_t number = -1;
    Sums sums;
  };
  std::int64_t number(Instant now) const { return now.time_since_epoch() / (window_ / kBuckets); }

  bool within(std::int64_t bucket, std::int64_t now) const { return bucket > now - kBuckets && bucket <= now; }

  Duration window_;
  // Of the buckets within the window that ends with this one.
  std::int64_t summed_ = -1;
  Sums total_;
  std::array<Bucket, kBuckets> buckets_{};
};

}  // namespace penstock::decision
