#include "controller/simulate/rivals/envoy_gradient.h"

#include <algorithm>
#include <cmath>

namespace penstock::simulate {

EnvoyGradient::EnvoyGradient(const Options& options, std::uint64_t seed)
    : options_(options), random_(seed, "envoy"), limit_(options.min_limit.value_or(options.min)) {}

bool EnvoyGradient::admit(const Arrival& arrival) {
  if (!begun_) {
    begun_ = true;
    measure_ideal(arrival.now);
    next_update_ = arrival.now + options_.update_interval;
  }
  return let_in(in_flight() < limit_);
}

void EnvoyGradient::measure_ideal(Instant now) {
  if (measuring_ideal()) return;
  deferred_ = limit_;
  if (!options_.min_limit) set_limit(options_.min, now);
  samples_.clear();
  epoch_ = now;
}

void EnvoyGradient::set_limit(int limit, Instant now) {
  const bool still_least = !measuring_ideal() && limit_ == least() && limit == least();
  limit_ = limit;
  minima_ = still_least ? minima_ + 1 : 0;
  if (minima_ >= kMinimaInARow) next_ideal_ = now;
}

double EnvoyGradient::percentile() {
  const double rank = std::ceil(options_.percentile * static_cast<double>(samples_.size()));
  const auto nth = samples_.begin() + std::max(0, static_cast<int>(rank) - 1);
  std::nth_element(samples_.begin(), nth, samples_.end());
  const double value = *nth;
  samples_.clear();
  return value;
}

void EnvoyGradient::ended(const Ended& ended) {
  let_out();
  if (ended.fate == Fate::cancelled || ended.started < epoch_) return;
  samples_.push_back(decision::seconds(ended.now - ended.started));
  if (!measuring_ideal() || static_cast<int>(samples_.size()) < options_.request_count) return;

  ideal_ = percentile();
  if (!options_.min_limit) set_limit(deferred_, ended.now);
  deferred_ = 0;
  const Duration jitter = decision::from_seconds(decision::seconds(options_.ideal_interval) * options_.jitter);
  next_ideal_ =
      ended.now + options_.ideal_interval + decision::from_seconds(random_.uniform() * decision::seconds(jitter));
  next_update_ = ended.now + options_.update_interval;
}

void EnvoyGradient::tick(Instant now, const Load&) {
  if (!begun_ || measuring_ideal()) return;
  if (now >= next_update_) {
    next_update_ = now + options_.update_interval;
    if (!samples_.empty()) {
      const double measured = percentile();
      const double raw = measured > 0 ? (1 + options_.buffer) * ideal_ / measured : kGreatestGradient;
      const double kept = limit_ * std::clamp(raw, kLeastGradient, kGreatestGradient);
      set_limit(std::clamp(static_cast<int>(kept + std::sqrt(kept)), least(), options_.max), now);
    }
  }
  if (now >= next_ideal_) measure_ideal(now);
}

}  // namespace penstock::simulate
