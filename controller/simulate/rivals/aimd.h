#pragma once

#include "controller/simulate/rivals/netflix.h"

namespace penstock::simulate {

// Netflix's AIMD: one more on each success while at least half of the limit is in use, a tenth less on each drop or
// whatever took longer than the time-out. Source: github.com/Netflix/concurrency-limits, AIMDLimit.java at 784c960d.
class Aimd final : public NetflixLimiter {
 public:
  struct Options {
    // Builder.initialLimit, minLimit, maxLimit, backoffRatio; DEFAULT_TIMEOUT.
    int initial = 20;
    int min = 20;
    int max = 200;
    double backoff = 0.9;
    Duration timeout = std::chrono::seconds(5);
  };
  explicit Aimd(const Options& options) : NetflixLimiter(options.initial), options_(options) {}

 private:
  int update(const Sample& sample) override;

  const Options options_;
};

}  // namespace penstock::simulate
