#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "decision/cause_test_step.h"
#include "decision/text.h"
#include "penstock/decision/cause_test.h"

// FREEZE and CUT: the test itself.
namespace penstock::decision {
namespace {

using namespace std::chrono_literals;

// How long calls are held after an alarm; throughput above this share of the usual is no collapse.
constexpr Duration kAlarm = 1000ms;
constexpr double kHalfOfUsual = 0.5;
// After an alarm only relief counts, and it comes soon.
constexpr Duration kRelief = 1500ms;

// --- FREEZE

constexpr Duration kShortestFreeze = 400ms;
constexpr std::int64_t kEnoughReference = 12;
constexpr Duration kLongestFreeze = 4s;
constexpr Duration kLongestReference = 3s;

// Throughput below this share, with so many standard errors, while calls in flight did not fall: they hang.
constexpr double kCollapsed = 0.33;
constexpr double kCollapsedZ = 3.0;

// --- CUT

// f = 1 - kSpread x sqrt(2 / N): so far below 1 that the midpoint is kSpread / 2 standard errors from either.
constexpr double kSpread = 5.0;
constexpr double kStrongestCut = 0.5;
constexpr double kWeakestCut = 0.75;
// The verdict is "ours" above f^kMidpoint: nearer to 1 than to f, because a wrong limit costs more than none.
constexpr double kMidpoint = 0.4;
constexpr double kGuiltyZ = 2.0;
constexpr double kInnocentZ = 1.5;
// Throughput that rises by so much, and so many standard errors, when calls are cut, needs no whole latency.
constexpr double kRelieved = 1.2;
constexpr double kRelievedZ = 2.0;
constexpr Duration kShortestMeasure = 500ms;
// Cut for longer than so many latencies and this: nothing was told.
constexpr double kLongestCut = 3.0;
constexpr Duration kLongestCutMore = 2s;

// Of the logarithm of a ratio of two counts of independent events.
double standard_error(double a, double b) { return std::sqrt(1 / std::max(a, 1.0) + 1 / std::max(b, 1.0)); }

}  // namespace

// An upstream that collapses answers some, but far less than it did. One that is slow answers none yet; or as much as
// before, if the alarm was chance.
void CauseTest::hold(Step& step) {
  if (step.now - began_ < kAlarm) return;
  const UpstreamSignals::Span held = step.signals.since(began_);
  if (held.ok < kFewestReference || held.throughput() > kHalfOfUsual * usual_throughput_) {
    alarmed_ = false;
    end_test(step, Cause::unidentified, 0s,
             format("%lld answers while calls were held: %s", static_cast<long long>(held.ok),
                    held.ok < kFewestReference ? "latency jumped, or it is dead" : "no collapse"));
    return;
  }
  evidence_.x_ref = held.throughput();
  evidence_.calls_ref = static_cast<double>(held.ok);
  begin_cut(step);
}

void CauseTest::freeze(Step& step) {
  if (alarmed_) return hold(step);
  const std::int64_t mark = step.context.wall / mark_interval_;
  const UpstreamSignals::Span frozen = step.signals.since(began_);
  // At the same concurrency the same throughput, unless what flows passes by what hangs.
  const auto expected = evidence_.x_ref * frozen.seconds;
  if (expected >= kFewestReference && static_cast<double>(frozen.ok) < kCollapsed * expected &&
      expected - static_cast<double>(frozen.ok) > kCollapsedZ * std::sqrt(expected + static_cast<double>(frozen.ok))) {
    evidence_.r = frozen.throughput() / evidence_.x_ref;
    evidence_.calls = static_cast<double>(frozen.ok);
    evidence_.f = 1;
    hold_off_ = std::clamp(kHoldOffGrowth * hold_off_, kHoldOff, kLongestHoldOff);
    end_test(
        step, Cause::theirs, hold_off_,
        format("throughput fell to %.2f as soon as calls in flight did not grow: the cause is theirs; calls are not "
               "limited",
               evidence_.r));
    return;
  }
  if (mark == mark_) return;
  mark_ = mark;
  if (step.now - began_ < kShortestFreeze) return;
  const Duration back =
      std::max(std::clamp(step.signals.latency(), kShortestReference, kLongestReference), step.now - began_);
  const UpstreamSignals::Span reference = step.signals.since(step.now - back);
  if (reference.ok < (step.now - began_ < kLongestFreeze / 3 ? kEnoughReference : kFewestReference)) {
    if (step.now - began_ >= kLongestFreeze) {
      end_test(step, Cause::unidentified, told_nothing(), "too few answers to measure throughput");
    }
    return;
  }
  // The higher of the two is the safer: a reference from when throughput still rose makes the cut look harmless.
  evidence_.x_ref = std::max(reference.throughput(), frozen.ok >= kFewestReference ? frozen.throughput() : 0);
  evidence_.calls_ref = static_cast<double>(reference.ok);
  begin_cut(step);
}

void CauseTest::begin_cut(Step& step) {
  n_ref_ = step.counts().in_flight;
  // Little's law: what completions do not show yet, calls in flight do.
  const double little = n_ref_ / std::max(evidence_.x_ref, 1e-6);
  const double patience = seconds(step.context.patience);
  w_ref_ = from_seconds(std::min(std::max(seconds(step.signals.latency()), little), patience));
  const double expected = evidence_.x_ref * std::max(seconds(w_ref_), 1.0);
  evidence_.f = std::clamp(1 - kSpread * std::sqrt(2 / expected), kStrongestCut, kWeakestCut);
  const double limit = std::floor(evidence_.f * n_ref_);
  if (n_ref_ < kFewestInFlight || limit < step.context.min) {
    end_test(step, Cause::unidentified, kHoldOff,
             format("%.0f calls in flight are too few to be cut to %.2f of it, with at least %d", n_ref_, evidence_.f,
                    step.context.min));
    return;
  }
  began_ = step.now;
  drained_.reset();
  set_limit(step, limit);
  evidence_.r = evidence_.z = evidence_.calls = 0;
  decide(step, CauseState::cut, Cause::unidentified,
         format("calls in flight are cut from %.0f to %.0f for about %.1f s", n_ref_, limit,
                (2 - evidence_.f) * seconds(w_ref_)),
         format("f = 1 - %.0f sqrt(2 / %.0f) = %.2f; X_ref = %.1f/s over %.0f answers", kSpread, expected, evidence_.f,
                evidence_.x_ref, evidence_.calls_ref),
         "throughput that holds: ours; throughput that falls with the limit: theirs");
}

void CauseTest::cut(Step& step) {
  const UpstreamCounts& counts = step.counts();
  const int limit = *hold_.limit;
  const double f = evidence_.f;
  const Duration elapsed = step.now - began_;
  const Duration longest = from_seconds(kLongestCut * seconds(w_ref_)) + kLongestCutMore;
  if (!drained_) {
    if (counts.in_flight <= limit + std::max(2, limit / 20)) drained_ = step.now;
    if (!drained_) {
      // As long as more are in flight than the limit, the upstream has as much to do as before.
      const UpstreamSignals::Span draining = step.signals.since(began_);
      const double usual = evidence_.x_ref * draining.seconds;
      const auto ok = static_cast<double>(draining.ok);
      if (usual >= kFewestReference && ok < kCollapsed * usual && usual - ok > kCollapsedZ * std::sqrt(usual + ok)) {
        evidence_.r = ok / usual;
        evidence_.calls = ok;
        evidence_.z = (usual - ok) / std::sqrt(usual + ok);
        hold_off_ = std::clamp(kHoldOffGrowth * hold_off_, kHoldOff, kLongestHoldOff);
        end_test(step, Cause::theirs, hold_off_,
                 format("throughput fell to %.2f while calls in flight still went down: the cause is theirs; calls are "
                        "not limited",
                        evidence_.r));
      } else if (elapsed >= longest) {
        end_test(step, Cause::unidentified, told_nothing(), "calls in flight did not go down to the limit");
      }
      return;
    }
  }
  // (1 - f) of the calls took the drain: all of them take one latency, whatever W said.
  const Duration latency = std::max({w_ref_, from_seconds(seconds(*drained_ - began_) / (1 - f)), kShortestMeasure});
  const Duration measured = step.now - *drained_;
  if (measured <= Duration::zero()) return;
  const UpstreamSignals::Span span = step.signals.since(*drained_);
  evidence_.calls = static_cast<double>(span.ok);
  evidence_.r = span.throughput() / evidence_.x_ref;
  const double threshold = std::pow(f, kMidpoint);
  const double expected = evidence_.x_ref * span.seconds;
  const double error = standard_error(std::max(evidence_.calls, f * expected), evidence_.calls_ref);
  const double log_r = std::log(std::max(evidence_.r, 1e-3));
  const double above_f = (log_r - std::log(f)) / error;
  const double below_1 = -log_r / error;

  if (span.in_flight < kBinding * limit && counts.waiting == 0 && measured >= latency / 2) {
    end_test(step, Cause::unidentified, told_nothing(), "fewer calls came than the limit allows");
    return;
  }
  const auto come = static_cast<double>(span.attempts);
  if (evidence_.calls - come > kSurplusZ * std::sqrt(come + evidence_.calls)) {
    returning_ = true;
    begin_track(step, limit, Cause::unidentified,
                format("%.0f answers to %.0f new calls: the upstream makes up for what it owed, by itself or because "
                       "calls were cut; calls come back step by step",
                       evidence_.calls, come));
    return;
  }
  const bool theirs = evidence_.r < threshold;
  // Throughput that falls this far needs no whole latency to be believed.
  const bool clear = measured >= latency / 2 && (std::log(threshold) - log_r) / error >= 3;
  const bool relieved = measured >= kShortestMeasure && evidence_.r > kRelieved && log_r / error >= kRelievedZ;
  if (alarmed_ && !relieved) {
    if (measured >= kRelief) {
      end_test(step, Cause::unidentified, told_nothing(), "fewer calls did not relieve it: no collapse");
    }
    return;
  }
  if (measured < latency && !clear && !relieved) return;
  if (theirs ? below_1 >= kInnocentZ : above_f >= kGuiltyZ) {
    evidence_.z = theirs ? below_1 : above_f;
    if (theirs) {
      hold_off_ = std::clamp(kHoldOffGrowth * hold_off_, kHoldOff, kLongestHoldOff);
      end_test(step, Cause::theirs, hold_off_,
               format("throughput fell to %.2f when calls in flight were cut to %.2f: the cause is theirs; calls are "
                      "not limited",
                      evidence_.r, f));
    } else {
      begin_search(step);
    }
    return;
  }
  if (elapsed >= longest) {
    evidence_.z = theirs ? below_1 : above_f;
    end_test(step, Cause::unidentified, told_nothing(), "the answers do not tell the cause");
  }
}

}  // namespace penstock::decision
