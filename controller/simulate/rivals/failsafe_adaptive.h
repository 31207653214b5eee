#pragma once

#include <cstddef>
#include <vector>

#include "controller/simulate/rivals/counted.h"

namespace penstock::simulate {

// failsafe-go's adaptive limiter. Source: github.com/failsafe-go/failsafe-go, adaptivelimiter/adaptivelimiter.go at
// 06622f2d, internal/util/{ewma,median,windows,util}.go.
//
// Once a second the 90th percentile of what ended, filtered by a median of five and smoothed, is held against its
// long-term mean:
//
//   queue = ceil(limit * (1 - baseline / recent))
//
// Down by log10(limit) where the queue is over 6 log10(limit), or where the limit is used up and throughput falls, or
// hardly moves, while times rise with what is in flight. Else up by as much where the queue is under 3 log10(limit).
// Never over five times what was in flight.
class FailsafeAdaptive final : public CountedLimiter {
 public:
  struct Options {
    // NewBuilder: minLimit, maxLimit, initialLimit, maxLimitFactor.
    double min = 1;
    double max = 200;
    int initial = 20;
    double max_limit_factor = 5;
    // NewBuilder: recentWindowMinDuration, recentWindowMaxDuration, recentWindowMinSamples, recentQuantile.
    Duration window_min = std::chrono::seconds(1);
    Duration window_max = std::chrono::seconds(30);
    int window_samples = 50;
    double quantile = 0.9;
    // NewBuilder: baselineWindowAge, correlationWindowSize.
    int baseline_age = 10;
    int correlation_window = 50;
  };
  explicit FailsafeAdaptive(const Options& options);

  bool admit(const Arrival&) override { return let_in(in_flight() < static_cast<int>(limit_)); }
  // Time-outs and cancellations are given back without a sample (Permit.Drop).
  void ended(const Ended& ended) override;
  std::optional<double> limit() const override { return static_cast<int>(limit_); }

 private:
  // adaptivelimiter.go: warmupSamples, smoothedSamples.
  static constexpr int kWarmup = 10;
  static constexpr int kSmoothed = 5;

  // A mean that decays by 2 / (age + 1) after a plain mean over the first kWarmup.
  class Ewma {
   public:
    explicit Ewma(int age) : factor_(2.0 / (age + 1)) {}
    double add(double value);

   private:
    double factor_;
    int count_ = 0;
    double sum_ = 0;
    double value_ = 0;
  };

  // How pairs of the last so many windows go together.
  struct Correlation {
    double coefficient = 0;
    // Of y, relative to its mean.
    double variation = 0;
  };
  class CorrelationWindow {
   public:
    explicit CorrelationWindow(int size) : size_(static_cast<std::size_t>(size)) {}
    Correlation add(double x, double y);

   private:
    struct Pair {
      double x;
      double y;
    };
    std::size_t size_;
    std::size_t next_ = 0;
    std::vector<Pair> pairs_;
  };

  double filtered(double value);
  void update(double recent, int in_flight, bool full);

  const Options options_;
  double limit_;
  // Seconds each.
  std::vector<double> samples_;
  double least_ = 0;
  int most_in_flight_ = 0;
  std::vector<double> last_;
  std::size_t last_next_ = 0;
  Ewma smoothed_{kSmoothed};
  Ewma baseline_;
  CorrelationWindow throughput_;
  CorrelationWindow times_;
  Instant next_update_{};
};

}  // namespace penstock::simulate
