#include "controller/simulate/rivals/vegas.h"

#include <algorithm>
#include <cmath>

namespace penstock::simulate {

Vegas::Vegas(const Options& options, std::uint64_t seed)
    : NetflixLimiter(options.initial),
      options_(options),
      random_(seed, "vegas"),
      limit_(options.initial),
      jitter_(random_.uniform(0.5, 1)) {}

int Vegas::update(const Sample& sample) {
  if (!options_.windowed) return judge(sample);
  const std::optional<Sample> window = window_.add(sample);
  return window ? judge(*window) : static_cast<int>(limit_);
}

int Vegas::judge(const Sample& sample) {
  const int old = static_cast<int>(limit_);
  if (++since_probe_ >= jitter_ * options_.probe * limit_) {
    jitter_ = random_.uniform(0.5, 1);
    since_probe_ = 0;
    shortest_ = sample.rtt;
    return old;
  }
  if (shortest_ == Duration{} || sample.rtt < shortest_) {
    shortest_ = sample.rtt;
    return old;
  }

  const int log = netflix_log10(old);
  double next = limit_;
  if (sample.dropped) {
    next -= log;
  } else if (2 * sample.in_flight < limit_) {
    return old;
  } else {
    const double share = 1 - decision::seconds(shortest_) / decision::seconds(sample.rtt);
    const int queue = static_cast<int>(std::ceil(limit_ * share));
    if (queue <= log) {
      next += 6 * log;
    } else if (queue < 3 * log) {
      next += log;
    } else if (queue > 6 * log) {
      next -= log;
    } else {
      return old;
    }
  }
  next = std::clamp<double>(next, 1, options_.max);
  limit_ = (1 - options_.smoothing) * limit_ + options_.smoothing * next;
  return static_cast<int>(limit_);
}

}  // namespace penstock::simulate
