#pragma once

#include "controller/simulate/rivals/netflix.h"

namespace penstock::simulate {

// Netflix's Gradient2 in a WindowedLimit, as the project's README builds it. Source:
// github.com/Netflix/concurrency-limits, Gradient2Limit.java at f2528def and measurement/ExpAvgMeasurement.java at
// 11c70606.
//
//   gradient = clamp(tolerance * long / rtt, 0.5, 1)
//   limit   := (1 - smoothing) * limit + smoothing * (limit * gradient + queue)
//
// `long` is an exponential mean over 600 windows, a plain mean over the first 10; where it is more than twice the last
// time it is cut by 5 %, so that it does not stay up after a long trouble. No change while less than half is in use.
class Gradient2 final : public NetflixLimiter {
 public:
  struct Options {
    // Builder.initialLimit, minLimit, maxConcurrency, smoothing, queueSize, rttTolerance, longWindow.
    int initial = 20;
    int min = 20;
    int max = 200;
    double smoothing = 0.2;
    int queue = 4;
    double tolerance = 1.5;
    int long_window = 600;
  };
  explicit Gradient2(const Options& options);

 private:
  // Gradient2Limit's constructor: the second argument of ExpAvgMeasurement.
  static constexpr int kWarmup = 10;
  // Gradient2Limit._update: when the long-term mean drifts, and by what it is cut.
  static constexpr double kDrifted = 2.0;
  static constexpr double kDriftCut = 0.95;

  int update(const Sample& sample) override;
  double long_term(double rtt);

  const Options options_;
  NetflixWindow window_;
  double limit_;
  // Seconds.
  double long_ = 0;
  double long_sum_ = 0;
  int long_count_ = 0;
};

}  // namespace penstock::simulate
