#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdint>
#include <mutex>

namespace penstock::bench {

// Counts durations, under the lock of whoever has it.
class NaiveHistogram {
 public:
  void observe(std::chrono::steady_clock::duration d) {
    const double seconds = std::chrono::duration<double>(d).count();
    ++counts_[static_cast<std::size_t>(std::lower_bound(edges_.begin(), edges_.end(), seconds) - edges_.begin())];
    sum_ += seconds;
  }

 private:
  const std::array<double, 12> edges_{.001, .002, .005, .01, .02, .05, .1, .2, .5, 1, 2, 5};
  std::array<std::uint64_t, 13> counts_{};
  double sum_ = 0;
};

// What one would write first: a limiter and a histogram behind a mutex, taken at the begin and at the end of a request.
class NaiveLimiter {
 public:
  using Clock = std::chrono::steady_clock;

  explicit NaiveLimiter(int limit) : limit_(limit) {}

  template <class Fn>
  bool call(Fn fn) {
    const Clock::time_point begun = Clock::now();
    {
      std::lock_guard guard(mutex_);
      if (in_flight_ >= limit_) return false;
      ++in_flight_;
    }
    fn();
    const Clock::time_point ended = Clock::now();
    std::lock_guard guard(mutex_);
    --in_flight_;
    histogram_.observe(ended - begun);
    return true;
  }

 private:
  const int limit_;
  std::mutex mutex_;
  int in_flight_ = 0;
  NaiveHistogram histogram_;
};

// The same for calls: a limiter, a circuit breaker over a window of ten seconds and a histogram behind a mutex,
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
    std::lock_guard guard(mutex_);
    --in_flight_;
    histogram_.observe(now - begun);
    ++bucket(now).calls;
    std::int64_t calls = 0, errors = 0;
    for (const Bucket& bucket : window_) {
      calls += bucket.calls;
      errors += bucket.errors;
    }
    if (calls >= 20 && errors * 2 > calls) open_until_ = now + std::chrono::seconds(2);
  }

  const int limit_;
  std::mutex mutex_;
  int in_flight_ = 0;
  std::array<Bucket, 10> window_{};
  Clock::time_point open_until_{};
  NaiveHistogram histogram_;
};

}  // namespace penstock::bench
