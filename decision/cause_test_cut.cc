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

// --- FREEZE

constexpr Duration kShortestFreeze = 400ms;
constexpr Duration kLongestFreeze = 6s;

// Throughput below this share, with so many standard errors, while calls in flight did not fall: they hang.
constexpr double kCollapsed = 0.33;
constexpr double kCollapsedZ = 3.0;

// --- CUT

// The level: this many times X W_b, and so many more. At the knee itself a little variance starves the upstream. At
// most so much of what was in flight, else f is too near to 1.
constexpr double kAboveKnee = 1.6;
constexpr double kFewMore = 2;
constexpr double kWeakestCut = 0.5;
// Usual latencies after which what is fast has been answered; within these.
constexpr double kSettleLatencies = 3;
constexpr Duration kShortestSettle = 300ms;
constexpr Duration kLongestSettle = 1s;
// Of an alarm: from this long after it on there must be answers, be they few; two patiences where a burst of calls came
// before it: an upstream that shares itself out among them all answers none for a while, and still works on those that
// were given up. Of a jump of latency that costs no more than the latency, and what is silent had nothing to lose.
constexpr Duration kAlarm = 1s;
constexpr Duration kLongestAlarm = 2500ms;
constexpr double kFlowAnswers = 8;
// Calls are not drained for longer than this share of the patience, and this.
constexpr double kLongestDrain = 0.6;
constexpr Duration kLongestDrainMore = 1s;
// Of the throughput at the level: so many answers, usual latencies, and time, at least.
constexpr double kRunAnswers = 16;
constexpr double kRunLatencies = 2;
constexpr Duration kShortestRun = 200ms;
constexpr double kGuiltyZ = 2.0;
constexpr double kInnocentZ = 2.0;
// Without a verdict for so long, and so many latencies: nothing was told.
constexpr double kLongestRun = 1.5;
constexpr Duration kLongestRunMore = 2s;
// Where latency is no more than this share of the patience, throughput that fell with the limit is not the last word:
// calls are held at this share of the limit, for at most so many latencies and this. By so many answers latency is down
// to this share of what it was, which takes a while where others fill what we leave, or no lower than that.
constexpr double kWatchable = 0.3;
constexpr double kWatchShare = 0.5;
constexpr double kLongestWatch = 2;
constexpr Duration kLongestWatchMore = 1s;
constexpr std::int64_t kFewestWatched = 5;
constexpr double kCameDown = 0.7;
constexpr double kJumpsDown = 0.35;
constexpr double kStaysUp = 0.95;
// After an alarm: latency that is back to so many usual ones; throughput that rose by so much is worth another look at
// half of the level, so often.
constexpr double kRelievedRatio = 5;
constexpr double kRelieved = 1.2;
constexpr int kLooks = 4;
// After an alarm: so many patiences for the drain, and to look at what a burst has filled.
constexpr double kLongestRelief = 1;
constexpr double kAnswered = 1.5;

// Of the logarithm of a ratio of two counts of independent events.
double standard_error(double a, double b) { return std::sqrt(1 / std::max(a, 1.0) + 1 / std::max(b, 1.0)); }

}  // namespace

void CauseTest::theirs(Step& step, std::string sentence) {
  hold_off_ = std::clamp(kHoldOffGrowth * hold_off_, kHoldOff, kLongestHoldOff);
  end_test(step, Cause::theirs, hold_off_, std::move(sentence));
}

void CauseTest::freeze(Step& step) {
  if (!tested_ && excused(step)) return;
  const std::int64_t mark = step.context.wall / kMark;
  const UpstreamSignals::Span frozen = step.signals.since(began_);
  // At the same concurrency the same throughput, unless what flows passes by what hangs.
  const auto expected = evidence_.x_ref * frozen.seconds;
  if (std::min(expected, evidence_.calls_ref) >= kFewestReference &&
      static_cast<double>(frozen.ok) < kCollapsed * expected &&
      expected - static_cast<double>(frozen.ok) > kCollapsedZ * std::sqrt(expected + static_cast<double>(frozen.ok))) {
    evidence_.r = frozen.throughput() / evidence_.x_ref;
    evidence_.calls = static_cast<double>(frozen.ok);
    evidence_.f = 1;
    theirs(step, format("throughput fell to %.2f as soon as calls in flight did not grow: the cause is theirs; calls "
                        "are not limited",
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
  begin_cut(step, evidence_.x_ref);
}

// To the level at which an upstream that answers so much would have usual latency.
void CauseTest::begin_cut(Step& step, double throughput) {
  n_ref_ = step.counts().in_flight;
  // What has collapsed says nothing of the knee.
  if (const double usual = step.signals.throughput_slow(); throughput < kCollapsed * usual) {
    alarmed_ = true;
    throughput = usual;
  }
  // Little's law: what completions do not show yet, calls in flight do.
  const double little = n_ref_ / std::max(evidence_.x_ref, 1e-6);
  w_ref_ = from_seconds(std::min(std::max(seconds(step.signals.latency()), little), seconds(step.context.patience)));
  const double knee = throughput * seconds(step.signals.usual_latency());
  const double limit = std::floor(std::min(kAboveKnee * knee + kFewMore, kWeakestCut * n_ref_));
  if (n_ref_ < kFewestInFlight || (limit < step.context.min && step.context.min > kWeakestCut * n_ref_)) {
    end_test(step, Cause::unidentified, kHoldOff,
             format("%.0f calls in flight are too few to be cut to the knee of %.0f, with at least %d", n_ref_, knee,
                    step.context.min));
    return;
  }
  if (n_ref_ <= kAboveKnee * knee) {
    end_test(step, Cause::unidentified, told_nothing(),
             format("%.0f calls in flight are no more than %.1f/s at %.3g s need", n_ref_, throughput,
                    seconds(step.signals.usual_latency())));
    return;
  }
  looks_ = 0;
  knee_throughput_ = throughput;
  cut_to(step, limit);
  evidence_.f = *hold_.limit / n_ref_;
  evidence_.r = evidence_.z = evidence_.calls = 0;
  decide(
      step, CauseState::cut, Cause::unidentified,
      format("calls wait until %.0f in flight have become %d, for about %.1f s", n_ref_, *hold_.limit, seconds(w_ref_)),
      format("knee X W_b = %.1f/s x %.3g s = %.0f; X_ref = %.1f/s over %.0f answers", throughput,
             seconds(step.signals.usual_latency()), knee, evidence_.x_ref, evidence_.calls_ref),
      "as many answers from so few calls: ours; throughput that falls with the limit: theirs");
}

void CauseTest::cut_to(Step& step, double limit) {
  began_ = step.now;
  drained_.reset();
  watched_.reset();
  set_limit(step, limit);
}

// While more are in flight than the limit, the upstream has as much to do as before.
void CauseTest::drain(Step& step) {
  const Duration elapsed = step.now - began_;
  const Duration settle = std::clamp(from_seconds(kSettleLatencies * seconds(step.signals.usual_latency())),
                                     kShortestSettle, kLongestSettle);
  if (elapsed <= settle) return;
  if (alarmed_) {
    const UpstreamSignals::Span flow = step.signals.since(std::max(began_ + settle, step.now - kAlarm));
    const Duration flows =
        std::clamp(settle + from_seconds(kFlowAnswers / std::max(evidence_.x_ref, 1e-3)), kAlarm, kLongestAlarm);
    const Duration until = burst_ ? 2 * step.context.patience : flows;
    if (elapsed >= until && flow.ok == 0) {
      end_test(step, Cause::unidentified, 0s, "no answers while calls waited: latency jumped, or it is dead");
      return;
    }
    if (burst_ && elapsed < until) return;
  } else {
    const double window = std::max(0.5, 3 * kFewestReference / std::max(evidence_.x_ref, 1e-3));
    const UpstreamSignals::Span flow = step.signals.since(std::max(began_ + settle, step.now - from_seconds(window)));
    const double usual = evidence_.x_ref * flow.seconds;
    const auto ok = static_cast<double>(flow.ok);
    if (usual >= kFewestReference && ok < kCollapsed * usual && usual - ok > kCollapsedZ * std::sqrt(usual + ok)) {
      evidence_.r = ok / usual;
      evidence_.calls = ok;
      evidence_.z = (usual - ok) / std::sqrt(usual + ok);
      theirs(step, format("throughput fell to %.2f while %d calls were still in flight: the cause is theirs; calls are "
                          "not limited",
                          evidence_.r, step.counts().in_flight));
      return;
    }
  }
  // What has collapsed drains the faster, the less there is of it.
  const double longest = alarmed_ ? kLongestRelief : kLongestDrain;
  if (elapsed >= from_seconds(longest * seconds(step.context.patience)) + kLongestDrainMore) {
    end_test(step, Cause::unidentified, told_nothing(), "calls in flight did not go down to the limit");
  }
}

void CauseTest::cut(Step& step) {
  const UpstreamCounts& counts = step.counts();
  const int limit = *hold_.limit;
  if (!drained_) {
    if (counts.in_flight > limit + std::max(2, limit / 20)) return drain(step);
    drained_ = step.now;
  }
  if (watched_) return watch(step);
  const double w_b = seconds(step.signals.usual_latency());
  const double x_knee = std::max(knee_throughput_, 1e-3);
  // What the drain left goes first: the youngest of many, which come back together.
  const Instant from = *drained_ + from_seconds(limit / x_knee + 0.5 * w_b);
  const Duration measured = step.now - from;
  const auto needed =
      std::max<Duration>(kShortestRun, from_seconds(std::max(kRunLatencies * w_b, kRunAnswers / x_knee)));
  if (measured < needed) return;
  const UpstreamSignals::Span span = step.signals.since(alarmed_ ? step.now - needed : from);
  if (too_few_came(span, counts, limit)) {
    end_test(step, Cause::unidentified, told_nothing(), "fewer calls came than the limit allows");
    return;
  }
  evidence_.calls = static_cast<double>(span.ok);
  evidence_.r = span.throughput() / std::max(evidence_.x_ref, 1e-3);
  const double expected = evidence_.x_ref * span.seconds;
  const double error = standard_error(std::max(evidence_.calls, 0.5 * expected), evidence_.calls_ref);
  const double log_r = std::log(std::max(evidence_.r, 1e-3));
  const double above_f = (log_r - std::log(evidence_.f)) / error;
  const double below = (std::log(kHolds) - log_r) / error;
  if (!alarmed_ && evidence_.r >= kHolds - error / 2 && above_f >= kGuiltyZ &&
      evidence_.calls_ref >= kFewestReference) {
    evidence_.z = above_f;
    begin_search(step, span);
  } else if (alarmed_) {
    relieved(step, span);
  } else if (below >= kInnocentZ) {
    evidence_.z = below;
    if (w_ref_ <= from_seconds(kWatchable * seconds(step.context.patience))) {
      watched_ = step.now;
      // What was sent before the cut. By Little's law calls that only begin to pile up are slow as well.
      const UpstreamSignals::Span drain = step.signals.between(std::max(began_, *drained_ - w_ref_ / 2), from);
      w_drain_ = drain.ok >= kFewestReference ? std::min(w_ref_, drain.mean_latency()) : w_ref_;
      set_limit(step, std::floor(limit * kWatchShare));
      return;
    }
    theirs(step, format("throughput fell to %.2f when calls in flight were cut from %.0f to %d: the cause is theirs; "
                        "calls are not limited",
                        evidence_.r, n_ref_, limit));
  } else if (step.now - *drained_ >= from_seconds(kLongestRun * seconds(w_ref_)) + kLongestRunMore) {
    evidence_.z = above_f;
    end_test(step, Cause::unidentified, told_nothing(), "the answers do not tell the cause");
  }
}

// What others fill as well does not answer faster at once when calls are cut: their calls take the place. But its
// latency comes down, bit by bit, for as long as ours are few; one of its own goes on as it was.
void CauseTest::watch(Step& step) {
  const Duration elapsed = step.now - *watched_;
  // Answers to what was sent before tell nothing.
  if (elapsed < w_ref_) return;
  const UpstreamSignals::Span span = step.signals.since(std::max(*watched_ + w_ref_, step.now - w_ref_ / 2));
  const double w = seconds(w_ref_);
  const double w_drain = seconds(w_drain_);
  const double latency = seconds(span.mean_latency());
  const bool told = span.ok >= kFewestWatched;
  const bool stays = told ? latency > kStaysUp * w : seconds(step.counts().mean_age) > kStaysUp * w;
  if (stays || elapsed >= from_seconds(kLongestWatch * w) + kLongestWatchMore) {
    theirs(step, format("throughput fell to %.2f when calls in flight were cut from %.0f to %d, and latency stays: the "
                        "cause is theirs; calls are not limited",
                        evidence_.r, n_ref_, *hold_.limit));
  } else if (told && latency <= kJumpsDown * w_drain) {
    // By itself, or others leave us most of it.
    begin_search(step, span);
  } else if (told && latency <= kCameDown * w_drain) {
    begin_track(step, *hold_.limit, Cause::full,
                format("latency came down from %.3g s to %.3g s when %.0f calls in flight became %d, though throughput "
                       "fell as well: it is full, others fill it too",
                       w_drain, latency, n_ref_, *hold_.limit));
  }
}

// After an alarm there is no reference but better times: latency has to be as it was then.
void CauseTest::relieved(Step& step, const UpstreamSignals::Span& span) {
  // Of few in flight a wave of answers says little; of those answers some were sent before.
  const double latency = std::max(span.in_flight / std::max(span.throughput(), 1e-3), seconds(span.mean_latency()) / 2);
  if (latency <= kRelievedRatio * seconds(step.signals.usual_latency())) {
    begin_search(step, span);
    return;
  }
  // What was given up may still be worked on, until answers come for what was sent since.
  const double longest = std::min(kLongestRelief * seconds(step.context.patience), kAnswered * latency);
  if (burst_ && step.now - *drained_ < from_seconds(longest)) return;
  const int half = *hold_.limit / 2;
  if (++looks_ < kLooks && half >= step.context.min && (looks_ == 1 || evidence_.r >= kRelieved)) {
    evidence_.x_ref = span.throughput();
    // Nothing was answered, perhaps: the next look is not to take for ever.
    knee_throughput_ = std::max(span.throughput(), knee_throughput_ / 2);
    cut_to(step, half);
    return;
  }
  end_test(step, Cause::unidentified, told_nothing(),
           format("fewer calls did not relieve it: %.3g s of latency at %.0f in flight", latency, span.in_flight));
}

}  // namespace penstock::decision
