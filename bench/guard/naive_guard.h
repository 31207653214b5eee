#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <mutex>

namespace penstock::bench {

// What one would write first: a limiter, a circuit breaker over a window of ten seconds and a histogram behind a mutex,
// taken at the begin and at the end of a call. Nobody waits: over the limit a call is refused.
class NaiveGuard {
 public:
  using Clock = std::chrono::steady_clock;

  explicit NaiveGuard(int limit) : limit_(limit) {}

  template <class Fn>
  bool call(Clock::time_point deadline, Fn fn) {
    const Clock::time_point begun = Clock::now();
    if (begun >= deadline || !begin(begun)) return false;
    fn();
    end(begun, Clock::now());
    return true;
  }

 private:
  struct Bucket {
    std::int64_t second = -1;
    std::int64_t calls = 0;
    std::int64_t errors = 0;
  };

  Bucket& bucket(Clock::time_point now) {
    const std::int64_t second = std::chrono::floor<std::chrono::seconds>(now.time_since_epoch()).count();
    Bucket& bucket = window_[static_cast<std::size_t>(second) % window_.size()];
    if (bucket.second != second) bucket = {.second = second};
    return bucket;
  }

  bool begin(Clock::time_point now) {
    std::lock_guard guard(mutex_);
    if (open_until_ > now || in_flight_ >= limit_) return false;
    ++in_flight_;
    return true;
  }

  void end(Clock::time_point begun, Clock::time_point now) {
    const double seconds = std::chrono::duration<double>(now - begun).count();
    std::lock_guard guard(mutex_);
    --in_flight_;
    ++bucket(now).calls;
    std::int64_t calls = 0, errors = 0;
    for (const Bucket& bucket : window_) {
      calls += bucket.calls;
      errors += bucket.errors;
    }
    if (calls >= 20 && errors * 2 > calls) open_until_ = now + std::chrono::seconds(2);
    ++histogram_[static_cast<std::size_t>(std::lower_bound(edges_.begin(), edges_.end(), seconds) - edges_.begin())];
    sum_ += seconds;
  }

  const int limit_;
  const std::array<double, 12> edges_{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5};
  std::mutex mutex_;
  int in_flight_ = 0;
  std::array<Bucket, 10> window_{};
  Clock::time_point open_until_{};
  std::array<std::uint64_t, 13> histogram_{};
  double sum_ = 0;
};

}  // namespace penstock::bench
