#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "controller/simulate/rivals/counted.h"

namespace penstock::simulate {

// userver's congestion control of what a service calls: it bounds the calls in flight where too many time out, or take
// five times as long as usual. Source: github.com/userver-framework/userver,
// core/src/congestion_control/controllers/linear.cpp at 0c746bf9, linear_config.hpp at 03830d94,
// core/src/congestion_control/sensor.hpp.
//
// Each second: overloaded iff more than 5 % timed out, or the mean of 3 s is over 5 times the mean of 30 s, of at least
// 20 ms, which does not learn from such seconds. Then the limit starts at what is in flight and falls by 5 % a second;
// otherwise it rises by one, and goes when it is 10 above what is in flight.
class UserverLinear final : public CountedLimiter {
 public:
  struct Options {
    // congestion_control::v2::Config.
    double errors_percent = 5;
    std::int64_t safe_delta = 10;
    std::int64_t burst = 5;
    std::int64_t min_millis = 20;
    std::int64_t min_limit = 10;
    std::int64_t min_rate = 10;
  };
  explicit UserverLinear(const Options& options) : options_(options) {}

  bool admit(const Arrival&) override { return let_in(!limit_ || in_flight() < *limit_); }
  void ended(const Ended& ended) override;
  void tick(Instant now, const Load& load) override;

  // What the sensor reports of a second; tick() feeds it.
  struct Sensed {
    std::int64_t total;
    std::int64_t timeouts;
    std::int64_t mean_millis;
    std::int64_t in_flight;
  };
  void feed(const Sensed& sensed);
  std::optional<double> limit() const override;

 private:
  // linear.cpp: kCurrentLoadEpochs, kShortTimingsEpochs, kLongTimingsEpochs.
  static constexpr std::size_t kLoadEpochs = 3;
  static constexpr std::size_t kShortEpochs = 3;
  static constexpr std::size_t kLongEpochs = 30;
  // linear.cpp, Update: what is left of the limit after an overloaded second.
  static constexpr double kDown = 0.95;

  // Mean of the last N, which are zero at first.
  template <std::size_t N>
  class Smoothed {
   public:
    void add(std::int64_t value) {
      values_[next_] = value;
      next_ = (next_ + 1) % N;
    }
    std::int64_t mean() const {
      std::int64_t sum = 0;
      for (const std::int64_t value : values_) sum += value;
      return sum / static_cast<std::int64_t>(N);
    }

   private:
    std::array<std::int64_t, N> values_{};
    std::size_t next_ = 0;
  };

  const Options options_;
  Smoothed<kLoadEpochs> load_;
  Smoothed<kShortEpochs> short_;
  Smoothed<kLongEpochs> long_;
  std::size_t epochs_ = 0;
  std::optional<std::int64_t> limit_;

  std::int64_t total_ = 0;
  std::int64_t timeouts_ = 0;
  Duration sum_{};
  int ticks_ = 0;
};

}  // namespace penstock::simulate
