#include "decision/usefulness.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include "penstock/decision/prefetch.h"

namespace penstock::decision {
namespace {

// Of the evidence. Shorter, and a brown-out's noise shows; longer, and the return of a slow upstream to usefulness is
// seen late. Collapse does not wait for it, see kRunChance.
constexpr double kHalfLife = 2.0;
// A bin is identified when this weight of calls has left it.
constexpr double kIdentified = 2.0;
// And known well enough to act on what it promises.
constexpr double kCertain = 5.0;
// A run of non-successes less likely than this ends the validity of a bin's past. At 75 calls/s and p = 0.1 such a run
// takes 1.75 s and comes by chance about once a day.
constexpr double kRunChance = 1e-6;
constexpr std::int64_t kShortestRun = 8;
// One-sided 95 %.
constexpr double kZ = 1.645;
// Latency of 5 s has to be borne wherever the patience allows it, with a margin for the spread of arrivals.
constexpr Duration kBearable = std::chrono::milliseconds(5250);
// Beyond, the horizon no longer grows with the patience.
constexpr Duration kLongestHorizon = std::chrono::seconds(16);
// Silence that is believed when most calls fail at once instead of hanging: a restart of the upstream is not its death.
constexpr Duration kFailingSilence = std::chrono::milliseconds(1500);

// Evidence below this weight is none.
constexpr double kForgotten = 1e-9;

// Bins up to this one are left so soon that the calls in them need not be counted before.
constexpr int kLastShortBin = 3;

}  // namespace

int Usefulness::bin_of(Duration age) {
  int bin = 0;
  while (bin + 1 < kBins && age >= kEdges[static_cast<std::size_t>(bin + 1)]) ++bin;
  return bin;
}

Duration Usefulness::horizon(Duration patience) {
  return std::min({patience, std::max(kBearable, patience / 2), kLongestHorizon});
}

void Usefulness::reset(Instant now) {
  bins_ = {};
  used_ = 0;
  decayed_ = now;
  last_success_ = now;
  fruitless_ = fruitless_fast_ = 0;
}

void Usefulness::begun(Instant started) {
  ++bins_[0].in_flight;
  bins_[0].starts += micros(started);
}

void Usefulness::leave(Bin& bin, Instant started) {
  --bin.in_flight;
  bin.starts -= micros(started);
}

void Usefulness::without_success(Bin& bin, double& sum, double& run_sum) {
  if (bin.run == 0) bin.run_log = std::log1p(-std::min(0.99, (bin.success + 0.5) / (bin.left() + 1)));
  if (bin.run < std::numeric_limits<std::int32_t>::max()) ++bin.run;
  sum += 1;
  run_sum += 1;
  if (bin.success > 0 && bin.run >= kShortestRun && static_cast<double>(bin.run) * bin.run_log < std::log(kRunChance)) {
    bin.success = 0;
    bin.failure = bin.run_failure;
    bin.survivor = bin.run_survivor;
  }
}

Usefulness::Bin& Usefulness::evidence(int bin) {
  used_ = std::max(used_, bin + 1);
  return bins_[static_cast<std::size_t>(bin)];
}

void Usefulness::survived(int bin, Instant started) {
  Bin& from = evidence(bin);
  leave(from, started);
  without_success(from, from.survivor, from.run_survivor);
  if (bin == 0) count_fruitless(started);
  Bin& to = bins_[static_cast<std::size_t>(bin + 1)];
  ++to.in_flight;
  to.starts += micros(started);
}

void Usefulness::succeeded(int bin, Instant started, Instant now) {
  Bin& b = evidence(bin);
  leave(b, started);
  b.success += 1;
  b.run = 0;
  b.run_failure = b.run_survivor = 0;
  last_success_ = std::max(last_success_, now);
  fruitless_ = fruitless_fast_ = 0;
}

void Usefulness::tell(const Short& calls) {
  Bin& b = bins_[0];
  b.in_flight += static_cast<std::int32_t>(calls.begun - calls.succeeded);
  b.starts += calls.starts;
  if (calls.succeeded == 0) return;
  used_ = std::max(used_, 1);
  b.success += static_cast<double>(calls.succeeded);
  b.run = 0;
  b.run_failure = b.run_survivor = 0;
  last_success_ = std::max(last_success_, calls.last_success);
  fruitless_ = fruitless_fast_ = 0;
}

void Usefulness::failed(int bin, Instant started, bool fast) {
  Bin& b = evidence(bin);
  leave(b, started);
  without_success(b, b.failure, b.run_failure);
  if (bin == 0) count_fruitless(started);
  if (fast) ++fruitless_fast_;
}

void Usefulness::count_fruitless(Instant started) {
  if (fruitless_++ == 0) fruitless_since_ = started;
}

void Usefulness::gone(int bin, Instant started) { leave(bins_[static_cast<std::size_t>(bin)], started); }

void Usefulness::decay(Instant now) {
  if (decayed_ && now > *decayed_) {
    const double kept = std::exp2(-seconds(now - *decayed_) / kHalfLife);
    for (int i = 0; i < used_; ++i) {
      Bin& bin = bins_[static_cast<std::size_t>(i)];
      bin.success *= kept;
      bin.failure *= kept;
      bin.survivor *= kept;
      bin.run_failure *= kept;
      bin.run_survivor *= kept;
      // Nothing is left of what the run was measured against.
      if (bin.left() < 0.1) bin.run = 0;
      // Not even a number that processors are slow with.
      if (bin.left() < kForgotten) bin.success = bin.failure = bin.survivor = bin.run_failure = bin.run_survivor = 0;
    }
    while (used_ > 0 && bins_[static_cast<std::size_t>(used_ - 1)].left() == 0) --used_;
    if (bins_[0].left() < 0.1) fruitless_ = fruitless_fast_ = 0;
  }
  decayed_ = now;
}

double Usefulness::lived_through(int bin, Instant now) const {
  const Bin& b = bins_[static_cast<std::size_t>(bin)];
  if (b.in_flight == 0 || bin <= kLastShortBin || bin + 1 >= kBins) return 0;
  const double age_sum = 1e-6 * static_cast<double>(b.in_flight * micros(now) - b.starts);
  const double from = seconds(kEdges[static_cast<std::size_t>(bin)]);
  const double to = seconds(kEdges[static_cast<std::size_t>(bin + 1)]);
  const double calls = static_cast<double>(b.in_flight);
  return std::clamp((age_sum - calls * from) / (to - from), 0.0, calls);
}

Duration Usefulness::soonest(double share) const {
  double succeeded = 0;
  double alive = 1;
  for (int i = 0; i + 1 < kBins; ++i) {
    const Bin& bin = bins_[static_cast<std::size_t>(i)];
    if (bin.left() < kCertain) break;
    succeeded += alive * bin.success / bin.left();
    if (succeeded >= share) return kEdges[static_cast<std::size_t>(i + 1)];
    alive *= bin.survivor / bin.left();
  }
  return Duration::max();
}

bool Usefulness::at_least(double value, Duration patience) const {
  const Bin& first = bins_[0];
  return patience >= kEdges[1] && first.left() >= kIdentified && first.success >= value * first.left();
}

bool Usefulness::stays_at_least(double value, Duration patience) const {
  return fruitless_ == 0 && (bins_[0].left() < kIdentified || at_least(value, patience));
}

std::optional<Usefulness::Estimate> Usefulness::estimate(Duration patience, Instant now) const {
  if (bins_[0].left() < kIdentified) return std::nullopt;
  Estimate estimate{.value = 0, .identified = true};
  const Duration reach = horizon(patience);
  double alive = 1;
  double decided = 0;
  double p = 0;
  double q = 0;
  for (int i = 0; i < kBins && kEdges[static_cast<std::size_t>(i)] < patience; ++i) {
    const Bin& bin = bins_[static_cast<std::size_t>(i)];
    decided += bin.success + bin.failure;
    if (bin.left() >= kIdentified) {
      const double entered = bin.left() + lived_through(i, now);
      p = bin.success / entered;
      q = bin.failure / entered;
    } else if (kEdges[static_cast<std::size_t>(i)] < reach) {
      estimate.value += alive;
      estimate.identified = alive < 0.01;
      break;
    }
    double part = 1;
    if (i + 1 < kBins && kEdges[static_cast<std::size_t>(i + 1)] > patience) {
      // Up to the patience. A failure there is mostly the patience itself, so that only the successes are scaled, and
      // those are in it fully if the bin's own calls had no more time either.
      const Duration from = kEdges[static_cast<std::size_t>(i)];
      part = bin.left() >= kIdentified && bin.survivor < 0.05 * bin.left()
                 ? 1
                 : seconds(patience - from) / seconds(kEdges[static_cast<std::size_t>(i + 1)] - from);
    }
    estimate.value += alive * p * part;
    alive *= std::max(0.0, 1 - p - q);
    if (alive < 1e-4) break;
  }
  estimate.value = std::min(estimate.value, 1.0);
  estimate.calls = std::max(decided, static_cast<double>(fruitless_));
  const double n = std::max(estimate.calls, 1.0);
  const double z2 = kZ * kZ;
  const double f = estimate.value;
  estimate.upper = (f + z2 / (2 * n) + kZ * std::sqrt(f * (1 - f) / n + z2 / (4 * n * n))) / (1 + z2 / n);
  return estimate;
}

Duration Usefulness::silence(Instant now) const {
  return fruitless_ == 0 ? Duration::zero() : now - std::max(last_success_, fruitless_since_);
}

Duration Usefulness::bearable_silence(Duration patience) const {
  return std::min(hanging() ? kBearable : kFailingSilence, patience);
}

}  // namespace penstock::decision
