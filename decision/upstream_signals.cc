#include "penstock/decision/upstream_signals.h"

#include <algorithm>
#include <cmath>

#include "penstock/decision/prefetch.h"

namespace penstock::decision {
namespace {

// Half-lives: of the fast mean 0.5 s, of the slow one 10 s, of the usual calls in flight a minute; powers of each
// other, so that one exponential serves all.
constexpr double kUsualInFlightHalfLife = 60;
// Below, a mean that fades is none: processors are slow with the smallest numbers.
constexpr double kFaded = 1e-9;
// Answers behind one value of W: its standard error is a third of the spread of latencies.
constexpr std::int64_t kWindow = 10;
// Ticks of the last second and a bit: who asks about trouble looks at these first.
constexpr std::size_t kLookedAt = 12;
// Up to this W / W_b the calls in flight count as usual.
constexpr double kUsual = 1.5;
// Trouble that lasts longer does not freeze the usual latency any more.
constexpr Duration kFrozen = std::chrono::seconds(120);

}  // namespace

Duration UpstreamSignals::latency() const {
  return last_.in_flight > 0 ? std::max(window_mean_, last_.mean_age) : window_mean_;
}

void UpstreamSignals::tick(const UpstreamCounts& counts, bool frozen, Instant now) {
  const std::int64_t ok = counts.ok - last_.ok;
  const Duration latency = counts.latency - last_.latency;
  const bool first = kept_ == 0;
  const Duration elapsed = first ? Duration::zero() : now - ticked_;
  last_ = counts;
  ticked_ = now;
  if (elapsed > Duration::zero()) {
    const double dt = seconds(elapsed);
    const double x = static_cast<double>(ok) / dt;
    const double kept = std::exp2(-dt / kUsualInFlightHalfLife);
    const double kept3 = kept * kept * kept;
    const double kept_slow = kept3 * kept3;
    const double kept_slow4 = kept_slow * kept_slow * kept_slow * kept_slow;
    const double kept_slow16 = kept_slow4 * kept_slow4 * kept_slow4 * kept_slow4;
    fast_ += (1 - kept_slow16 * kept_slow4) * (x - fast_);
    slow_ += (1 - kept_slow) * (x - slow_);
    usual_in_flight_ *= kept;
    for (double* mean : {&fast_, &slow_, &usual_in_flight_}) {
      if (*mean < kFaded) *mean = 0;
    }
  }
  window_calls_ += ok;
  window_latency_ += latency;
  if (window_calls_ >= kWindow) {
    window_mean_ = window_latency_ / window_calls_;
    window_calls_ = 0;
    window_latency_ = {};
  }

  const bool trouble = in_trouble();
  in_trouble_for_ = trouble ? in_trouble_for_ + elapsed : Duration::zero();
  const bool known = usual_latency() > Duration::zero();
  if (known && (frozen || (trouble && in_trouble_for_ < kFrozen))) {
    usual_.drop_window();
  } else {
    usual_.add(latency, ok);
  }
  if (!frozen && seconds(this->latency()) <= kUsual * seconds(usual_latency())) {
    usual_in_flight_ = std::max(usual_in_flight_, static_cast<double>(counts.in_flight));
  }

  in_flight_sum_ += counts.in_flight;
  newest_ = (newest_ + 1) % kHistory;
  kept_ = std::min(kept_ + 1, kHistory);
  samples_[newest_] = {now, counts.attempts, counts.ok, counts.failed, counts.refused, counts.latency, in_flight_sum_};
}

void UpstreamSignals::prefetch() const { decision::prefetch(this, samples_.data()); }

void UpstreamSignals::prefetch_samples() const {
  __builtin_prefetch(&samples_[(newest_ + 1) % kHistory], 1);
  if (in_trouble_for_ == Duration::zero()) return;
  for (std::size_t back = 0; back < kLookedAt; ++back) __builtin_prefetch(&sample(back));
}

std::size_t UpstreamSignals::back_to(Instant at) const {
  // The first guess is right while ticks come in time.
  constexpr Duration kTick = std::chrono::milliseconds(100);
  const auto guess = at >= ticked_ ? std::int64_t{0} : (ticked_ - at) / kTick;
  std::size_t back = std::min<std::size_t>(static_cast<std::size_t>(guess), kept_ - 1);
  while (back + 1 < kept_ && sample(back).at > at) ++back;
  while (back > 0 && sample(back - 1).at <= at) --back;
  return back;
}

UpstreamSignals::Span UpstreamSignals::between(Instant from, Instant to) const {
  if (kept_ == 0) return {};
  const std::size_t last = back_to(to);
  const std::size_t first = std::max(back_to(from), last);
  const Sample& a = sample(first);
  const Sample& b = sample(last);
  Span span{.seconds = seconds(b.at - a.at),
            .attempts = b.attempts - a.attempts,
            .ok = b.ok - a.ok,
            .failed = b.failed - a.failed,
            .refused = b.refused - a.refused,
            .latency = b.latency - a.latency};
  const auto ticks = first - last;
  span.in_flight = ticks == 0 ? static_cast<double>(last_.in_flight)
                              : static_cast<double>(b.in_flight_sum - a.in_flight_sum) / static_cast<double>(ticks);
  return span;
}

UpstreamSignals::Span UpstreamSignals::since(Instant from) const { return between(from, ticked_); }

}  // namespace penstock::decision
