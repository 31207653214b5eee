#pragma once

#include <cstdint>
#include <vector>

#include "controller/simulate/random.h"
#include "controller/simulate/rivals/counted.h"

namespace penstock::simulate {

// Envoy's adaptive concurrency filter. Source: github.com/envoyproxy/envoy,
// source/extensions/filters/http/adaptive_concurrency/controller/gradient_controller.cc at c35f67fb, and of the version
// 149521d8 the API's adaptive_concurrency.proto (v3) and
// docs/root/configuration/http/http_filters/adaptive_concurrency_filter.rst.
//
//   gradient = clamp((1 + buffer) * ideal / measured, 0.5, 2)
//   limit   := limit * gradient + sqrt(limit * gradient), within [min, max]
//
// `measured` is a percentile of the last update interval; `ideal` the same of the first requests that start after the
// limit was pinned to its minimum, which happens once an interval, and when the limit was set to its minimum five times
// in a row. Every answer is a sample, whatever it says; what the client cancels is none.
class EnvoyGradient final : public CountedLimiter {
 public:
  struct Options {
    // concurrency_limit_params.max_concurrency_limit.
    int max = 1000;
    // min_rtt_calc_params: min_concurrency, request_count, jitter, buffer.
    int min = 3;
    int request_count = 50;
    double jitter = 0.15;
    double buffer = 0.25;
    // sample_aggregate_percentile.
    double percentile = 0.5;
    // Both have no default; from the example of the filter's documentation: concurrency_update_interval,
    // min_rtt_calc_params.interval.
    Duration update_interval = std::chrono::milliseconds(100);
    Duration ideal_interval = std::chrono::seconds(60);
    // concurrency_limit_params.min_concurrency_limit: when set, the least limit, and the ideal is measured without
    // pinning.
    std::optional<int> min_limit;
  };
  EnvoyGradient(const Options& options, std::uint64_t seed);

  bool admit(const Arrival& arrival) override;
  void ended(const Ended& ended) override;
  void tick(Instant now, const Load& load) override;
  std::optional<double> limit() const override { return limit_; }
  bool measuring_ideal() const { return deferred_ > 0; }

 private:
  // gradient_controller.cc, calculateNewLimit: the gradient's bounds; updateConcurrencyLimit: consecutive minima.
  static constexpr double kLeastGradient = 0.5;
  static constexpr double kGreatestGradient = 2.0;
  static constexpr int kMinimaInARow = 5;

  void measure_ideal(Instant now);
  void set_limit(int limit, Instant now);
  // Of the samples, in seconds; clears them.
  double percentile();
  int least() const { return options_.min_limit.value_or(options_.min); }

  const Options options_;
  Random random_;
  int limit_;
  // The limit to come back to after the ideal was measured; 0 while it is not.
  int deferred_ = 0;
  int minima_ = 0;
  double ideal_ = 0;
  Instant epoch_{};
  Instant next_update_{};
  Instant next_ideal_{};
  bool begun_ = false;
  std::vector<double> samples_;
};

}  // namespace penstock::simulate
