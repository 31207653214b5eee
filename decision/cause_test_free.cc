#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "decision/cause_test_step.h"
#include "decision/text.h"
#include "penstock/decision/cause_test.h"
#include "penstock/decision/prefetch.h"

// FREE: whether to test.
namespace penstock::decision {
namespace {

using namespace std::chrono_literals;

// Deficit that is worth a test: d = 1 - ok / attempts, kSmallDeficit while latency is nothing to patience, less as it
// comes near, to kDeficit at a quarter of it. A ramp of latency makes a deficit of its slope, and takes itself to
// there.
constexpr double kDeficit = 0.1;
constexpr double kSmallDeficit = 0.25;
constexpr double kPerPatience = 0.6;
// Standard errors by which attempts exceed answers.
constexpr double kDeficitZ = 2.0;
// The horizon of the deficit: so many attempts, at least kShortest and W, at most kLongest.
constexpr double kHorizonCalls = 60;
constexpr Duration kShortestHorizon = 500ms;
constexpr Duration kLongestHorizon = 8s;
// Of the time before the trouble in it.
constexpr Duration kBefore = 1s;
constexpr double kBrokeOff = 0.4;
// Answers of this time tell whether they flow, if so many were to be expected.
constexpr Duration kFlowWindow = 300ms;
constexpr double kFlowAnswers = 8;
// Answers within the horizon without which there is no throughput to watch.
constexpr std::int64_t kFewestAnswers = 10;
// Throughput of the second half of the horizon over the first: steady within these.
constexpr double kRising = 1.2;
constexpr double kFalling = 0.15;
// Calls in flight that grow by more than e to this power count as an experiment; throughput that does not follow: by so
// many standard errors, and by less than this share of the way.
constexpr double kGrowing = 0.15;
constexpr double kGrowingZ = 1.0;
constexpr double kFlatShare = 0.5;
// After more answers than calls within a second there is no test for so long.
constexpr Duration kSwinging = 10s;
// Ticks in a row.
constexpr int kLosingTicks = 4;
// Without trouble for so long: the hold-off begins anew.
constexpr Duration kWell = 30s;
// Run delays in a measured latency: before the call, after its answer, and in between.
constexpr double kRunDelays = 3;

// More calls in flight than so many times what X W_b says, and answers in this time below this share of the usual.
constexpr double kPiledUp = 2.5;
constexpr Duration kAlarmWindow = 300ms;
constexpr Duration kLongestAlarmWindow = 1200ms;
constexpr double kStopped = 0.4;
constexpr double kAlarmAnswers = 20;
// Throughput that came back: by so much, with so many standard errors, with so many of the calls in flight.
constexpr double kCameBack = 2.5;
constexpr double kCameBackZ = 4;
constexpr double kAsMany = 0.8;
// What the fast mean of throughput rests on.
constexpr double kFastSeconds = 1.4;
// It is not tested then unless latency grows to so many times what it was, for so long, in the same trouble.
constexpr double kExcused = 2;
constexpr Duration kExcuseLost = 3s;
// Calls of the last second over those of ten before: what came before the alarm was a burst of them.
constexpr double kBurst = 1.7;
// When calls may be held for an alarm again.
constexpr Duration kAlarmAgain = 30s;
// While another upstream is tested calls are held as in FREEZE, for so long.
constexpr Duration kLongestTurn = 10s;

// Limit while the mark is waited for: factor and more.
constexpr double kFreezeFactor = 1.1;
constexpr double kFreezeMore = 2;

Duration alarm_window(double throughput) {
  return std::clamp<Duration>(from_seconds(kAlarmAnswers / std::max(throughput, 1.0)), kAlarmWindow,
                              kLongestAlarmWindow);
}

double over(std::int64_t a, std::int64_t b) { return b > 0 ? static_cast<double>(a) / static_cast<double>(b) : 0; }

}  // namespace

// An upstream that answers more than it is asked lacks no capacity: its latency swings by itself.
void CauseTest::note_surplus(const Step& step) {
  const UpstreamSignals::Span span = step.signals.since(step.now - 1s);
  const auto surplus = static_cast<double>(span.ok - span.attempts);
  if (surplus > kSurplusZ * std::sqrt(static_cast<double>(span.ok + span.attempts))) surplus_ = step.now;
}

bool CauseTest::losing_calls(const Step& step) {
  if (surplus_ && step.now - *surplus_ < kSwinging) return false;
  const UpstreamSignals& s = step.signals;
  const UpstreamCounts& counts = step.counts();
  if (counts.in_flight < kFewestInFlight) return false;
  const double w = seconds(s.latency());
  const double w_b = seconds(s.usual_latency());
  // What this node's own CPU adds is no fault of the upstream.
  if (w - kRunDelays * seconds(step.context.run_delay) <= UpstreamSignals::kTrouble * w_b) return false;
  const UpstreamSignals::Span last_second = s.since(step.now - 1s);
  const double rate = std::max(last_second.per_second(last_second.attempts), 1.0);
  // All of the trouble, as far as it is not too long ago, and what came before: it begins with usual calls in flight,
  // so that they grow most.
  const Duration since = step.now - trouble_since_.value_or(step.now);
  const Duration trouble = std::max(since, std::min<Duration>(since + kBefore, 2 * kBefore));
  // A jump of latency makes answers break off for as long as it is high: at first, that has to be waited for.
  if (trouble > since && trough_.calls > 0 && trough_.throughput < kBrokeOff * s.throughput_fast()) return false;
  const Duration horizon = std::clamp(std::max({from_seconds(kHorizonCalls / rate), s.latency(), trouble}),
                                      kShortestHorizon, kLongestHorizon);
  const UpstreamSignals::Span span = s.since(step.now - horizon);
  if (span.ok < kFewestAnswers) return false;
  const auto lost = static_cast<double>(span.attempts - span.ok);
  evidence_.deficit = 1 - over(span.ok, span.attempts);
  const double bearable = w / std::max(seconds(step.context.patience), 1e-3);
  const double threshold = std::clamp(kSmallDeficit - kPerPatience * bearable, kDeficit, kSmallDeficit);
  if (evidence_.deficit <= threshold || lost < kDeficitZ * std::sqrt(static_cast<double>(span.attempts + span.ok))) {
    return false;
  }
  const UpstreamSignals::Span later = s.since(step.now - horizon / 2);
  const UpstreamSignals::Span earlier = s.between(step.now - horizon, step.now - horizon / 2);
  const auto second = static_cast<double>(later.ok);
  const auto first = static_cast<double>(earlier.ok);
  if (second < 3 || second < kFalling * first) return false;
  const double flows = later.throughput() * seconds(kFlowWindow);
  if (flows >= kFlowAnswers && static_cast<double>(s.since(step.now - kFlowWindow).ok) < kBrokeOff * flows)
    return false;
  // Calls in flight that grow by themselves are an experiment as well, one for nothing: throughput that grows with them
  // speaks for an upstream that does not care.
  const double more = std::log(std::max(later.in_flight, 1.0) / std::max(earlier.in_flight, 1.0));
  const double rose = std::log((second + 0.5) / (first + 0.5));
  const double noise = std::sqrt(1 / (first + 0.5) + 1 / (second + 0.5));
  if (more > kGrowing) return more - rose > kGrowingZ * noise && rose < kFlatShare * more + noise;
  return rose < std::log(kRising) + noise;
}

void CauseTest::free(Step& step) {
  const UpstreamSignals& s = step.signals;
  if (s.in_trouble()) note_surplus(step);
  if (step.context.refusing && hold_.verdict != Cause::full) {
    decide(step, CauseState::free, Cause::full, "the upstream refuses calls, which is obeyed",
           "refused calls set the rate: token_bucket.h", "no refusal for some seconds");
  }
  // That others are under test cannot be waited for.
  if (step.context.knee_test == KneeTest::act && step.now >= next_alarm_ && collapsing(step)) return alarm(step);
  if (!s.in_trouble()) {
    if (!well_since_) well_since_ = step.now;
    if (step.now - *well_since_ >= kWell) {
      hold_off_ = {};
      next_test_ = std::min(next_test_, step.now);
    }
    if (hold_.verdict != Cause::none && step.now - *well_since_ >= 2s && !step.context.refusing) {
      decide(step, CauseState::free, Cause::none,
             format("latency is usual again: %.3g s, usually %.3g s", seconds(s.latency()), seconds(s.usual_latency())),
             "W <= 2.5 W_b for 2 s", "W > 2.5 W_b and calls get lost");
    }
    losing_ticks_ = 0;
    await_no_turn();
    observed_ = false;
    trouble_since_.reset();
    return;
  }
  well_since_.reset();
  note_trouble(step);
  if (excused_latency_ < Duration::max()) {
    if (seconds(s.latency()) < kExcused * seconds(excused_latency_)) excused_at_ = step.now;
    if (step.now - excused_at_ < kExcuseLost) return;
    excused_latency_ = Duration::max();
  }
  if (step.context.knee_test == KneeTest::act && !step.context.refusing && !tested_ && excused(step)) return;
  if (step.context.knee_test == KneeTest::off || step.context.refusing) return;
  losing_ticks_ = losing_calls(step) ? losing_ticks_ + 1 : 0;
  if (losing_ticks_ < kLosingTicks || step.now < next_test_) {
    await_no_turn();
    return;
  }
  if (step.context.knee_test == KneeTest::observe) {
    if (!std::exchange(observed_, true)) {
      decide(step, CauseState::free, Cause::unidentified,
             format("calls get lost at %.3g s of latency, usually %.3g s: would be tested", seconds(s.latency()),
                    seconds(s.usual_latency())),
             format("deficit %.2f > %.2f", evidence_.deficit, kDeficit), "kneeTest: act");
    }
    return;
  }
  wants_test_ = true;
  if (!step.context.may_test) {
    // No more pile up meanwhile: what gets lost while another is tested could not be told from death any more.
    if (!turn_since_) {
      turn_since_ = step.now;
      set_limit(step, std::ceil(kFreezeFactor * step.counts().in_flight + kFreezeMore));
    } else if (step.now - *turn_since_ >= kLongestTurn) {
      hold_.limit.reset();
    }
    return;
  }
  turn_since_.reset();
  const UpstreamSignals::Span before =
      s.since(step.now - (step.context.apart ? kShortestReference : kLongestReference / 3));
  evidence_.x_ref = before.throughput();
  evidence_.calls_ref = static_cast<double>(before.ok);
  if (!step.context.apart && before.ok >= kEnoughReference) return begin_cut(step, evidence_.x_ref);
  begin_freeze(step, std::ceil(kFreezeFactor * step.counts().in_flight + kFreezeMore),
               format("%.0f %% of calls get lost at %.3g s of latency, usually %.3g s: the cause is looked for",
                      evidence_.deficit * 100, seconds(s.latency()), seconds(s.usual_latency())),
               format("deficit %.2f > %.2f, W / W_b = %.1f > %.1f, n = %d", evidence_.deficit, kDeficit,
                      seconds(s.latency()) / std::max(seconds(s.usual_latency()), 1e-6), UpstreamSignals::kTrouble,
                      step.counts().in_flight));
}

void CauseTest::note_trouble(const Step& step) {
  if (trouble_since_) return;
  trouble_since_ = step.now;
  trough_ = {};
  tested_ = false;
  excused_latency_ = Duration::max();
}

void CauseTest::await_no_turn() {
  if (!turn_since_) return;
  turn_since_.reset();
  hold_.limit.reset();
}

void CauseTest::begin_freeze(Step& step, double limit, std::string sentence, std::string formula) {
  n_ref_ = step.counts().in_flight;
  began_ = step.now;
  mark_ = step.context.wall / kMark;
  set_limit(step, limit);
  decide(step, CauseState::freeze, Cause::unidentified, std::move(sentence), std::move(formula), "the test");
}

// Answers that all but stop while calls pile up: latency has jumped, or the upstream collapses under them. For the one
// it costs next to nothing to hold calls for a second; of the other each further call makes it worse, and soon it looks
// dead.
bool CauseTest::collapsing(const Step& step) const {
  const UpstreamSignals& s = step.signals;
  const UpstreamCounts& counts = step.counts();
  if (surplus_ && step.now - *surplus_ < kSwinging) return false;
  const double well = s.throughput_slow() * seconds(s.usual_latency());
  if (counts.in_flight < kFewestInFlight || counts.in_flight < kPiledUp * well) return false;
  const Duration window = alarm_window(s.throughput_slow());
  const double usual = s.throughput_slow() * seconds(window);
  const auto recent = static_cast<double>(s.since(step.now - window).ok);
  // A burst on the way up has as many in flight, but no latency.
  const double w = seconds(s.latency()) - kRunDelays * seconds(step.context.run_delay);
  return usual >= 0.99 * kAlarmAnswers && recent < kStopped * usual && w > kUsualRatio * seconds(s.usual_latency());
}

void CauseTest::alarm(Step& step) {
  note_trouble(step);
  alarmed_ = true;
  next_alarm_ = step.now + kAlarmAgain;
  const Duration window = alarm_window(step.signals.throughput_slow());
  const UpstreamSignals::Span now = step.signals.since(step.now - window);
  evidence_.x_ref = now.throughput();
  evidence_.calls_ref = static_cast<double>(now.ok);
  evidence_.deficit = 0;
  const UpstreamSignals::Span second = step.signals.since(step.now - 1s);
  const UpstreamSignals::Span before = step.signals.between(step.now - 11s, step.now - 1s);
  burst_ = second.per_second(second.attempts) > kBurst * before.per_second(before.attempts);
  begin_cut(step, step.signals.throughput_slow());
}

// Throughput that broke off and came back, although at least as many calls are in flight as when it was gone: they do
// it no harm. An upstream that lacks capacity answers no more, the more there are.
bool CauseTest::excused(Step& step) {
  const double x = step.signals.throughput_fast();
  const double n = step.counts().in_flight;
  if (trough_.calls == 0 || x < trough_.throughput) {
    trough_ = Block{n, 0, x, step.signals.throughput_slow()};
    return false;
  }
  if (trough_.throughput > kBrokeOff * trough_.calls) return false;
  if (x < kCameBack * trough_.throughput || n < kAsMany * trough_.in_flight || n < kFewestInFlight) return false;
  const double more = kFastSeconds * (x - trough_.throughput);
  if (more <= kCameBackZ * std::sqrt(kFastSeconds * (x + trough_.throughput))) return false;
  evidence_.x_ref = trough_.throughput;
  evidence_.r = x / std::max(trough_.throughput, 1e-3);
  evidence_.f = n / std::max(trough_.in_flight, 1.0);
  evidence_.calls = kFastSeconds * x;
  evidence_.calls_ref = kFastSeconds * trough_.throughput;
  evidence_.z = more / std::sqrt(kFastSeconds * (x + trough_.throughput));
  excused_latency_ = step.signals.latency();
  excused_at_ = step.now;
  next_alarm_ = std::max(next_alarm_, step.now + kAlarmAgain);
  theirs(step,
         format("throughput came back from %.1f/s to %.1f/s by itself, with %.0f calls in flight and then %.0f: the "
                "cause is theirs",
                trough_.throughput, x, trough_.in_flight, n));
  return true;
}

}  // namespace penstock::decision
