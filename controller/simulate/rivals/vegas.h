#pragma once

#include <cstdint>

#include "controller/simulate/random.h"
#include "controller/simulate/rivals/netflix.h"

namespace penstock::simulate {

// Netflix's Vegas. Source: github.com/Netflix/concurrency-limits, VegasLimit.java at 7989055a. By default its limiters
// take each sample as it comes, without a window.
//
//   queue = ceil(limit * (1 - shortest / rtt))
//   limit += beta  when queue <= log10(limit)         (beta = 6 log10(limit))
//   limit += log10 when queue < alpha                 (alpha = 3 log10(limit))
//   limit -= log10 when queue > beta, or on a drop
//
// and unchanged while less than half of the limit is in use. Each 30 * limit samples, times a jitter in [0.5, 1), the
// sample at hand becomes the shortest. Of single samples the shortest is far below the others where times spread; the
// library can put a WindowedLimit before it, which makes means of a second of them.
class Vegas final : public NetflixLimiter {
 public:
  struct Options {
    // Builder.initialLimit, maxConcurrency, smoothing, probeMultiplier.
    int initial = 20;
    int max = 1000;
    double smoothing = 1.0;
    int probe = 30;
    // Whether a WindowedLimit stands before it.
    bool windowed = false;
  };
  Vegas(const Options& options, std::uint64_t seed);

 private:
  int update(const Sample& sample) override;
  int judge(const Sample& sample);

  const Options options_;
  Random random_;
  NetflixWindow window_;
  double limit_;
  Duration shortest_{};
  int since_probe_ = 0;
  double jitter_;
};

}  // namespace penstock::simulate
