#include "decision/call_window.h"
#include "penstock/decision/prefetch.h"

namespace penstock::decision {

CallWindow::Sums& CallWindow::Sums::operator+=(const Sums& more) {
  ended += more.ended;
  failed += more.failed;
  timed += more.timed;
  slow += more.slow;
  return *this;
}

CallWindow::Sums& CallWindow::Sums::operator-=(const Sums& less) {
  ended -= less.ended;
  failed -= less.failed;
  timed -= less.timed;
  slow -= less.slow;
  return *this;
}

void CallWindow::set_window(Duration window) {
  if (window == window_) return;
  window_ = window;
  clear();
}

void CallWindow::clear() {
  buckets_ = {};
  summed_ = -1;
  total_ = {};
}

void CallWindow::add(const Sums& calls, Instant now) {
  const std::int64_t n = number(now);
  Bucket& bucket = buckets_[static_cast<std::size_t>(((n % kBuckets) + kBuckets) % kBuckets)];
  if (bucket.number != n) {
    if (within(bucket.number, summed_)) total_ -= bucket.sums;
    bucket = Bucket{n, {}};
  }
  bucket.sums += calls;
  if (within(n, summed_)) total_ += calls;
}

CallWindow::Sums CallWindow::sums(Instant now) {
  const std::int64_t n = number(now);
  if (n == summed_) return total_;
  total_ = {};
  for (const Bucket& bucket : buckets_) {
    if (within(bucket.number, n)) total_ += bucket.sums;
  }
  summed_ = n;
  return total_;
}

}  // namespace penstock::decision
