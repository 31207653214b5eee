#include "controller/simulate/rivals/failsafe_adaptive.h"

#include <algorithm>
#include <cmath>

#include "controller/simulate/rivals/netflix.h"

namespace penstock::simulate {

FailsafeAdaptive::FailsafeAdaptive(const Options& options)
    : options_(options),
      limit_(options.initial),
      baseline_(options.baseline_age),
      throughput_(options.correlation_window),
      times_(options.correlation_window) {}

double FailsafeAdaptive::Ewma::add(double value) {
  if (count_ < kWarmup) {
    sum_ += value;
    return value_ = sum_ / ++count_;
  }
  return value_ = value_ * (1 - factor_) + value * factor_;
}

FailsafeAdaptive::Correlation FailsafeAdaptive::CorrelationWindow::add(double x, double y) {
  if (pairs_.size() < size_) {
    pairs_.push_back({x, y});
  } else {
    pairs_[next_] = {x, y};
    next_ = (next_ + 1) % size_;
  }
  if (pairs_.size() < kWarmup) return {};

  const auto n = static_cast<double>(pairs_.size());
  double sx = 0, sy = 0, sxx = 0, syy = 0, sxy = 0;
  for (const Pair& p : pairs_) {
    sx += p.x;
    sy += p.y;
    sxx += p.x * p.x;
    syy += p.y * p.y;
    sxy += p.x * p.y;
  }
  const double mx = sx / n;
  const double my = sy / n;
  const double vx = sxx / n - mx * mx;
  const double vy = syy / n - my * my;
  if (vx < 0 || vy < 0 || mx == 0 || my == 0) return {};
  const double cx = std::sqrt(vx) / mx;
  const double cy = std::sqrt(vy) / my;
  // windows.go, minCV: what varies by less than 1 % says nothing.
  if (cx < 0.01 || cy < 0.01) return {.variation = cy};
  return {.coefficient = (sxy / n - mx * my) / (std::sqrt(vx) * std::sqrt(vy)), .variation = cy};
}

double FailsafeAdaptive::filtered(double value) {
  if (last_.size() < kSmoothed) {
    last_.push_back(value);
    if (last_.size() < kSmoothed) return value;
  } else {
    last_[last_next_] = value;
    last_next_ = (last_next_ + 1) % kSmoothed;
  }
  std::vector<double> sorted = last_;
  std::sort(sorted.begin(), sorted.end());
  return sorted[kSmoothed / 2];
}

void FailsafeAdaptive::ended(const Ended& ended) {
  // The place is given back after the update.
  const bool full = in_flight() >= static_cast<int>(limit_);
  if (ended.fate != Fate::timeout && ended.fate != Fate::cancelled) {
    const double rtt = decision::seconds(ended.now - ended.started);
    least_ = samples_.empty() ? rtt : std::min(least_, rtt);
    most_in_flight_ = std::max(most_in_flight_, ended.in_flight_at_start + 1);
    samples_.push_back(rtt);
  }
  if (ended.now > next_update_ && static_cast<int>(samples_.size()) >= options_.window_samples) {
    const double rank = std::ceil(options_.quantile * static_cast<double>(samples_.size()));
    const auto nth = samples_.begin() + std::max(0, static_cast<int>(rank) - 1);
    std::nth_element(samples_.begin(), nth, samples_.end());
    update(smoothed_.add(filtered(*nth)), most_in_flight_, full);
    const Duration wish = std::max(decision::from_seconds(2 * least_), options_.window_min);
    next_update_ = ended.now + std::min(wish, options_.window_max);
    samples_.clear();
    most_in_flight_ = 0;
  }
  let_out();
}

void FailsafeAdaptive::update(double recent, int in_flight, bool full) {
  const double baseline = baseline_.add(recent);
  const int queue = static_cast<int>(std::ceil(limit_ * (1 - baseline / recent)));
  const Correlation throughput = throughput_.add(in_flight, in_flight / recent);
  const Correlation times = times_.add(in_flight, recent);

  const int log = netflix_log10(static_cast<int>(limit_));
  double next = limit_;
  if (queue > 6 * log || (full && throughput.coefficient < 0) ||
      (full && throughput.coefficient < 0.3 && times.coefficient > 0.5) ||
      (full && throughput.variation < 0.2 && times.coefficient > 0.5)) {
    next -= log;
  } else if (queue < 3 * log) {
    next += log;
  }
  if (next > in_flight * options_.max_limit_factor) next = limit_ - log;
  limit_ = std::clamp(next, options_.min, options_.max);
}

}  // namespace penstock::simulate
