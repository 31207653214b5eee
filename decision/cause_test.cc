#include "penstock/decision/cause_test.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "decision/cause_test_step.h"
#include "decision/text.h"
#include "penstock/decision/prefetch.h"

// What all states of the test share; the states are in cause_test_free.cc, cause_test_cut.cc and cause_test_track.cc.
namespace penstock::decision {

using namespace std::chrono_literals;

namespace {

// Into trouble, and usual latencies: answers of an upstream that is dead by then were on their way.
constexpr Duration kCeased = 500ms;
constexpr double kCeasedLatencies = 5;

// Of the calls that were usual: what comes back through the breaker begins with so many.
constexpr double kReturn = 0.25;

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
    if (before == BreakerState::closed) ceased_at_once_ = !answers_went_on(step);
    if (context.dead && ceased_at_once_ && hold_.verdict != Cause::dead) {
      end_test(step, Cause::dead, 0s, "the breaker cut the upstream off: no call is answered in time any more");
    } else if (before == BreakerState::closed || hold_.state != CauseState::free) {
      end_test(step, Cause::unidentified, 0s, "the breaker cut the upstream off: dead, or overrun");
    }
    return hold_;
  } else if (context.refusing && testing()) {
    end_test(step, Cause::full, kHoldOffUnidentified, "the upstream refuses calls, which is obeyed");
  } else if (before != BreakerState::closed && context.knee_test == KneeTest::act) {
    // What was dead may have been overrun: from well below what went well before.
    returning_ = true;
    held_ = {};
    begin_track(step, std::max<double>(kReturn * signals.usual_in_flight(), kFewestInFlight), Cause::none,
                "the breaker closed: calls come back step by step");
    return hold_;
  }
  if (context.inherited && hold_.state == CauseState::free && context.knee_test == KneeTest::act) {
    begin_track(step, *context.inherited, Cause::ours,
                format("the fleet that led is gone: its limit of %d is continued", *context.inherited));
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

// What dies does so at once; what is overrun answers on, less and less. To be asked when the breaker opens.
bool CauseTest::answers_went_on(const Step& step) const {
  if (!trouble_since_) return false;
  const Duration last =
      std::max<Duration>(kCeased, from_seconds(kCeasedLatencies * seconds(step.signals.usual_latency())));
  return step.signals.since(*trouble_since_ + last).ok > 0;
}

Duration CauseTest::told_nothing() {
  hold_off_ = std::clamp(2 * hold_off_, kHoldOffUnidentified, kHoldOff);
  return hold_off_;
}

void CauseTest::end_test(Step& step, Cause verdict, Duration hold_off, std::string sentence) {
  // Answers to the calls that waited take a latency to come.
  if (testing()) hold_off = std::max(hold_off, step.signals.latency());
  // On a mark of the wall clock again: if nodes cut one by one this time, each read "theirs" because the others took
  // its share, and the next time they will cut together.
  const Duration mark = hold_off < kHoldOff ? kRetestMark / 2 : kRetestMark;
  const Duration past = (step.context.wall + hold_off) % mark;
  // What answers do from now on is what calls that were cut leave behind.
  if (hold_.state != CauseState::free && !alarmed_) tested_ = true;
  alarmed_ = burst_ = false;
  trough_ = {};
  // What calls waited for is owed: answers break off for a while.
  next_alarm_ = std::max(next_alarm_, step.now + 2 * step.signals.latency());
  next_test_ = step.now + hold_off + (hold_off > Duration::zero() && past > Duration::zero() ? mark - past : 0s);
  losing_ticks_ = 0;
  returning_ = false;
  hold_.limit.reset();
  decide(step, CauseState::free, verdict, std::move(sentence),
         evidence_.x_ref > 0
             ? format("r = X / X_ref = %.2f, f = %.2f, X_ref = %.1f/s, z = %.1f, %.0f and %.0f answers", evidence_.r,
                      evidence_.f, evidence_.x_ref, evidence_.z, evidence_.calls, evidence_.calls_ref)
             : "throughput was not measured",
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
