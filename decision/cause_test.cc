#include "penstock/decision/cause_test.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "decision/cause_test_step.h"
#include "decision/text.h"

// FREE, FREEZE and CUT: whether to test, and the test itself.
namespace penstock::decision {
namespace {

using namespace std::chrono_literals;

// --- FREE

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
// More answers than calls within a second, by so many standard errors: no capacity is missing. Not tested for so long.
constexpr double kSurplusZ = 2.5;
constexpr Duration kSwinging = 10s;
// Ticks in a row.
constexpr int kLosingTicks = 4;
// After "theirs": longer with each in a row. After a test that told nothing.
constexpr Duration kHoldOff = 8s;
constexpr int kHoldOffGrowth = 3;
constexpr Duration kLongestHoldOff = 240s;
constexpr Duration kHoldOffUnidentified = 3s;
constexpr Duration kRetestMark = 8s;
// Without trouble for so long: the hold-off begins anew.
constexpr Duration kWell = 30s;
// Run delays in a measured latency: before the call, after its answer, and in between.
constexpr double kRunDelays = 3;

// More calls in flight than so many times what X W_b says, and answers in this time below this share of the usual.
constexpr double kPiledUp = 2.5;
constexpr Duration kAlarmWindow = 300ms;
constexpr double kStopped = 0.4;
constexpr double kAlarmAnswers = 20;
// How long calls are held then, and when they may be held again; throughput above this share of the usual is no
// collapse.
constexpr Duration kAlarm = 1000ms;
constexpr Duration kAlarmAgain = 30s;
constexpr double kHalfOfUsual = 0.5;
// After an alarm only relief counts, and it comes soon.
constexpr Duration kRelief = 1500ms;

// While another upstream is tested calls are held as in FREEZE, for so long.
constexpr Duration kLongestTurn = 10s;

// --- FREEZE

constexpr double kFreezeFactor = 1.1;
constexpr double kFreezeMore = 2;
constexpr Duration kShortestFreeze = 400ms;
constexpr std::int64_t kFewestReference = 8;
constexpr std::int64_t kEnoughReference = 12;
constexpr Duration kLongestFreeze = 4s;
constexpr Duration kShortestReference = 600ms;
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

double over(std::int64_t a, std::int64_t b) { return b > 0 ? static_cast<double>(a) / static_cast<double>(b) : 0; }

// Of the logarithm of a ratio of two counts of independent events.
double standard_error(double a, double b) { return std::sqrt(1 / std::max(a, 1.0) + 1 / std::max(b, 1.0)); }

// Nodes notice the same trouble within about half a second of each other: with a mark a second and at least
// kShortestFreeze before it, most cut at the same one. Longer latency is noticed farther apart.
Duration mark_interval(Duration latency) { return latency < 2s ? 1000ms : 2000ms; }

}  // namespace

std::string_view to_string(CauseState state) {
  switch (state) {
    case CauseState::free:
      return "free";
    case CauseState::freeze:
      return "freeze";
    case CauseState::cut:
      return "cut";
    case CauseState::search:
      return "search";
    case CauseState::track:
      return "track";
  }
  return "unknown";
}

std::string_view to_string(Cause cause) {
  switch (cause) {
    case Cause::none:
      return "none";
    case Cause::theirs:
      return "theirs";
    case Cause::ours:
      return "ours";
    case Cause::full:
      return "full";
    case Cause::dead:
      return "dead";
    case Cause::unidentified:
      return "unidentified";
  }
  return "unknown";
}

CauseTest::Hold CauseTest::tick(const UpstreamSignals& signals, const CauseContext& context, Instant now) {
  Step step{signals, context, now};
  wants_test_ = false;
  const BreakerState before = std::exchange(breaker_, context.breaker);
  if (context.knee_test != KneeTest::act && hold_.state != CauseState::free) {
    end_test(step, Cause::none, 0s, "the policy switched the test off");
  } else if (context.breaker != BreakerState::closed) {
    if (hold_.verdict != Cause::dead) {
      end_test(step, Cause::dead, 0s, "the breaker cut the upstream off");
    }
    return hold_;
  } else if (context.refusing && testing()) {
    end_test(step, Cause::full, kHoldOffUnidentified, "the upstream refuses calls, which is obeyed");
  } else if (before != BreakerState::closed && context.knee_test == KneeTest::act) {
    // What was dead may have been overrun. Twice what went well before leaves room for those who come back.
    returning_ = true;
    begin_track(step, 2 * signals.usual_in_flight() + kFewestInFlight, Cause::none,
                "the breaker closed: calls come back step by step");
    return hold_;
  }
  switch (hold_.state) {
    case CauseState::free:
      free(step);
      break;
    case CauseState::freeze:
      freeze(step);
      break;
    case CauseState::cut:
      cut(step);
      break;
    case CauseState::search:
      search(step);
      break;
    case CauseState::track:
      track(step);
      break;
  }
  return hold_;
}

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
  // All of the trouble, as far as it is not too long ago: it begins with usual calls in flight, so that they grow most.
  const Duration trouble = step.now - trouble_since_.value_or(step.now);
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
  if (step.context.knee_test == KneeTest::act && step.now >= next_alarm_ && collapsing(step)) {
    wants_test_ = true;
    if (step.context.may_test) return alarm(step);
  }
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
  if (!trouble_since_) trouble_since_ = step.now;
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
  const UpstreamSignals::Span before = s.since(step.now - kShortestReference);
  evidence_.x_ref = before.throughput();
  evidence_.calls_ref = static_cast<double>(before.ok);
  begin_freeze(step, std::ceil(kFreezeFactor * step.counts().in_flight + kFreezeMore),
               format("%.0f %% of calls get lost at %.3g s of latency, usually %.3g s: the cause is looked for",
                      evidence_.deficit * 100, seconds(s.latency()), seconds(s.usual_latency())),
               format("deficit %.2f > %.2f, W / W_b = %.1f > %.1f, n = %d", evidence_.deficit, kDeficit,
                      seconds(s.latency()) / std::max(seconds(s.usual_latency()), 1e-6), UpstreamSignals::kTrouble,
                      step.counts().in_flight));
}

void CauseTest::await_no_turn() {
  if (!turn_since_) return;
  turn_since_.reset();
  hold_.limit.reset();
}

void CauseTest::begin_freeze(Step& step, double limit, std::string sentence, std::string formula) {
  n_ref_ = step.counts().in_flight;
  began_ = step.now;
  mark_interval_ = mark_interval(step.signals.latency());
  mark_ = step.context.wall / mark_interval_;
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
  const double usual = s.throughput_slow() * seconds(kAlarmWindow);
  const auto recent = static_cast<double>(s.since(step.now - kAlarmWindow).ok);
  // A burst on the way up has as many in flight, but no latency.
  const double w = seconds(s.latency()) - kRunDelays * seconds(step.context.run_delay);
  return usual >= kAlarmAnswers && recent < kStopped * usual && w > kUsualRatio * seconds(s.usual_latency());
}

void CauseTest::alarm(Step& step) {
  alarmed_ = true;
  next_alarm_ = step.now + kAlarmAgain;
  usual_throughput_ = step.signals.throughput_slow();
  evidence_.x_ref = evidence_.calls_ref = evidence_.deficit = 0;
  begin_freeze(
      step, step.counts().in_flight,
      format("answers all but stopped while calls pile up to %d: no more for a moment", step.counts().in_flight),
      format("answers of %.1f s below %.2f of %.1f/s", seconds(kAlarmWindow), kStopped, usual_throughput_));
}

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

Duration CauseTest::told_nothing() {
  hold_off_ = std::clamp(2 * hold_off_, kHoldOffUnidentified, kHoldOff);
  return hold_off_;
}

void CauseTest::end_test(Step& step, Cause verdict, Duration hold_off, std::string sentence) {
  // On a mark of the wall clock again: if nodes cut one by one this time, each read "theirs" because the others took
  // its share, and the next time they will cut together.
  const Duration mark = hold_off < kHoldOff ? kRetestMark / 2 : kRetestMark;
  const Duration past = (step.context.wall + hold_off) % mark;
  alarmed_ = false;
  next_test_ = step.now + hold_off + (hold_off > Duration::zero() && past > Duration::zero() ? mark - past : 0s);
  losing_ticks_ = 0;
  returning_ = false;
  hold_.limit.reset();
  decide(step, CauseState::free, verdict, std::move(sentence),
         format("r = X / X_ref = %.2f, f = %.2f, X_ref = %.1f/s, z = %.1f, %.0f and %.0f answers", evidence_.r,
                evidence_.f, evidence_.x_ref, evidence_.z, evidence_.calls, evidence_.calls_ref),
         hold_off > Duration::zero() ? format("calls still get lost in %.0f s: another test", seconds(hold_off))
                                     : "calls get lost while answers flow steadily");
}

void CauseTest::set_limit(const Step& step, double limit) {
  const int wanted = static_cast<int>(std::min(std::ceil(limit), 1e9));
  hold_.limit = std::max(step.context.min, std::min(wanted, step.context.max));
}

void CauseTest::decide(Step& step, CauseState to, Cause verdict, std::string sentence, std::string formula,
                       std::string would_change) {
  constexpr std::size_t kKept = 64;
  evidence_.w = step.signals.latency();
  evidence_.w_b = step.signals.usual_latency();
  evidence_.patience = step.context.patience;
  evidence_.in_flight = step.counts().in_flight;
  evidence_.memory_pressure = step.context.memory_pressure;
  evidence_.run_delay = step.context.run_delay;
  const double confidence = 0.5 * std::erfc(-evidence_.z / std::sqrt(2.0));
  last_ = Decision{step.now,
                   hold_.state,
                   to,
                   verdict,
                   confidence,
                   hold_.limit,
                   evidence_,
                   std::move(sentence),
                   std::move(formula),
                   std::move(would_change)};
  hold_.state = to;
  hold_.verdict = verdict;
  if (decisions_.size() == kKept) decisions_.pop_front();
  decisions_.push_back(*last_);
}

std::optional<CauseTest::Decision> CauseTest::take_decision() {
  if (decisions_.empty()) return std::nullopt;
  Decision decision = std::move(decisions_.front());
  decisions_.pop_front();
  return decision;
}

}  // namespace penstock::decision
