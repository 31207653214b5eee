#include "controller/simulate/rivals/gradient2.h"

#include <algorithm>

namespace penstock::simulate {

Gradient2::Gradient2(const Options& options)
    : NetflixLimiter(options.initial), options_(options), limit_(options.initial) {}

double Gradient2::long_term(double rtt) {
  if (long_count_ < kWarmup) {
    long_sum_ += rtt;
    return long_ = long_sum_ / ++long_count_;
  }
  const double factor = 2.0 / (options_.long_window + 1);
  return long_ = long_ * (1 - factor) + rtt * factor;
}

int Gradient2::update(const Sample& sample) {
  const int old = static_cast<int>(limit_);
  const std::optional<Sample> window = window_.add(sample);
  if (!window) return old;

  const double rtt = decision::seconds(window->rtt);
  const double mean = long_term(rtt);
  if (mean / rtt > kDrifted) long_ *= kDriftCut;
  if (window->in_flight < limit_ / 2) return old;

  const double gradient = std::clamp(options_.tolerance * mean / rtt, 0.5, 1.0);
  const double aim = limit_ * gradient + options_.queue;
  limit_ = std::clamp<double>(limit_ * (1 - options_.smoothing) + aim * options_.smoothing, options_.min, options_.max);
  return static_cast<int>(limit_);
}

}  // namespace penstock::simulate
