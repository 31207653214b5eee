#include "controller/simulate/rivals/brpc_auto.h"

#include <algorithm>
#include <cmath>

namespace penstock::simulate {

BrpcAuto::BrpcAuto(const Options& options, std::uint64_t seed)
    : options_(options), random_(seed, "brpc"), limit_(options.initial), explore_(options.max_explore) {}

Instant BrpcAuto::next_remeasure(Instant now) {
  const Duration half = options_.remeasure_interval / 2;
  return now + half + decision::from_seconds(random_.uniform() * decision::seconds(half));
}

bool BrpcAuto::admit(const Arrival& arrival) {
  if (!begun_) {
    begun_ = true;
    remeasure_ = next_remeasure(arrival.now);
    window_start_ = arrival.now;
  }
  return let_in(in_flight() + 1 <= limit_);
}

void BrpcAuto::ended(const Ended& ended) {
  let_out();
  if (ended.fate == Fate::refused) return;
  const bool ok = ended.fate == Fate::ok;
  successes_ += ok ? 1 : 0;
  if (last_sample_ != Instant{} && ended.now - last_sample_ < options_.sampling_interval) return;
  last_sample_ = ended.now;
  add(std::chrono::duration_cast<std::chrono::microseconds>(ended.now - ended.started).count(), ok, ended.now);
}

void BrpcAuto::add(std::int64_t micros, bool ok, Instant now) {
  if (ignore_until_ != Instant{}) {
    if (ignore_until_ > now) return;
    shortest_ = 0;
    ignore_until_ = {};
    remeasure_ = next_remeasure(now);
    reset_window(now);
  }
  (ok ? succeeded_ : failed_) += 1;
  (ok ? succeeded_micros_ : failed_micros_) += micros;

  const int samples = succeeded_ + failed_;
  const bool over = now - window_start_ >= options_.window;
  if (samples < options_.min_samples) {
    if (over) reset_window(now);
    return;
  }
  if (!over && samples < options_.max_samples) return;
  if (succeeded_ > 0) {
    update(now);
  } else {
    set_limit(limit_ / 2);
  }
  reset_window(now);
}

void BrpcAuto::reset_window(Instant now) {
  window_start_ = now;
  succeeded_ = failed_ = successes_ = 0;
  succeeded_micros_ = failed_micros_ = 0;
}

void BrpcAuto::set_limit(int limit) { limit_ = std::max(options_.floor, limit); }

void BrpcAuto::update(Instant now) {
  const double punished = static_cast<double>(failed_micros_) * options_.fail_punish;
  const auto mean =
      static_cast<std::int64_t>(std::ceil((punished + static_cast<double>(succeeded_micros_)) / succeeded_));
  const double rate = successes_ / std::max(1e-6, decision::seconds(now - window_start_));

  if (shortest_ <= 0) {
    shortest_ = mean;
  } else if (mean < shortest_) {
    shortest_ = static_cast<std::int64_t>(static_cast<double>(mean) * options_.alpha +
                                          static_cast<double>(shortest_) * (1 - options_.alpha));
  }
  // The peak forgets ten times as slowly.
  const double slow = options_.alpha / 10;
  peak_ = rate >= peak_ ? rate : rate * slow + peak_ * (1 - slow);

  const double best = peak_ * static_cast<double>(shortest_) / 1e6;
  if (remeasure_ <= now) {
    ignore_until_ = now + std::chrono::microseconds(2 * mean);
    set_limit(static_cast<int>(std::ceil(best * options_.remeasure_share)));
    return;
  }
  const bool fast =
      static_cast<double>(mean) <= static_cast<double>(shortest_) * (1 + options_.min_explore * options_.fluctuation);
  const bool below_peak = rate <= peak_ / (1 + options_.min_explore);
  explore_ = fast || below_peak ? std::min(options_.max_explore, explore_ + options_.explore_step)
                                : std::max(options_.min_explore, explore_ - options_.explore_step);
  set_limit(static_cast<int>(best * (1 + explore_)));
}

}  // namespace penstock::simulate
