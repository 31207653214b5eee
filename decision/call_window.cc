#include "decision/call_window.h"

namespace penstock::decision {

void CallWindow::set_window(Duration window) {
  if (window == window_) return;
  window_ = window;
  clear();
}

CallWindow::Sums& CallWindow::at(Instant now) {
  const std::int64_t n = number(now);
  Bucket& bucket = buckets_[static_cast<std::size_t>(((n % kBuckets) + kBuckets) % kBuckets)];
  if (bucket.number != n) bucket = Bucket{n, {}};
  return bucket.sums;
}

CallWindow::Sums CallWindow::sums(Instant now) const {
  const std::int64_t n = number(now);
  Sums total;
  for (const Bucket& bucket : buckets_) {
    if (bucket.number <= n - kBuckets || bucket.number > n) continue;
    total.ended += bucket.sums.ended;
    total.failed += bucket.sums.failed;
    total.timed += bucket.sums.timed;
    total.slow += bucket.sums.slow;
  }
  return total;
}

}  // namespace penstock::decision
