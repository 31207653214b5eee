#include <algorithm>
#include <chrono>
#include <cmath>
#include <utility>

#include "decision/cause_test_step.h"
#include "decision/text.h"
#include "penstock/decision/cause_test.h"

// SEARCH and TRACK: where the knee is, and where it goes.
namespace penstock::decision {
namespace {

using namespace std::chrono_literals;

// --- SEARCH

// How long calls that come back may take to fill the level.
constexpr Duration kFilled = 1s;
// d ln X / d ln n above which throughput follows the limit.
constexpr double kFollows = 0.75;
// After what holds was found: so many times as many calls must not raise throughput by more than to this power of it.
constexpr double kVerify = 2.5;
constexpr double kRises = 0.5;
// Logarithm of the growth of calls in flight up to which throughput tells nothing.
constexpr double kMoreToTell = 0.1;
constexpr double kVerifyAnswers = 40;
// After an alarm, when more have come back: hardly an answer, for so long.
constexpr double kSilent = 0.1;
constexpr Duration kSilence = 1s;
// How often the level must turn over meanwhile.
constexpr double kVerifyTurns = 0.7;
// Of so many expected answers no more than this share came: the verdict can be told at once.
constexpr double kThrashAnswers = 20;
constexpr double kThrashes = 0.4;
// Shortest hold-off after a verdict was taken back.
constexpr Duration kWithdrawn = 15s;

// --- TRACK

// A block: so many latencies, and so many answers, within these.
constexpr double kBlockLatencies = 2.5;
constexpr double kBlockAnswers = 20;
constexpr Duration kShortestBlock = 250ms;
constexpr Duration kLongestBlock = 8s;
// Growth a block while latency is usual.
constexpr double kGrowWell = 1.5;
constexpr double kGrowFair = 1.2;
constexpr double kGrowBack = 2.0;
constexpr double kWellRatio = 1.2;
// The step up that the slope is measured by; each kRegretEvery-th is larger.
constexpr double kStep = 1.25;
constexpr double kRegret = 1.5;
constexpr int kRegretEvery = 5;
// Where the limit is below what once went well with usual latency, or so low that little is known: answers are few, and
// only a large step shows.
constexpr double kDouble = 2.0;
constexpr double kSteep = 0.6;
constexpr double kFlat = 0.35;
// Weight of the slopes before. From so many on, a standard error above this says that nothing is explained.
constexpr double kForget = 0.8;
constexpr double kFewestSlopes = 3.3;
constexpr double kScattered = 0.6;
constexpr double kShrink = 0.85;
constexpr double kGrow = 1.4;
// Steps in a row that throughput followed: the verdict was wrong.
constexpr int kFollowed = 2;
// In a row that many more calls got more answers: it was.
constexpr int kDoubts = 3;
// The limit was not reached for so long: it is no longer needed.
constexpr Duration kUnbound = 2s;
// Far above the knee: more than so many times the usual latency. Down by this factor a step; after a step that cost
// throughput, not again for so long.
constexpr double kFar = 3.0;
constexpr double kDescend = 0.6;
// No lower than this many times X W_b: at the knee itself a little variance starves the upstream. Nearer to it than
// this is not worth a step.
constexpr double kAboveKnee = 1.6;
constexpr double kNear = 0.75;
constexpr Duration kDescendAgain = 10s;
// A verdict "ours" is remembered for what comes back through the breaker.
constexpr Duration kRemembered = 60s;
// Latency that jumps by this at the same limit has another cause than the limit.
constexpr double kJump = 3.0;
// More calls, by this factor, than went well, and throughput below this share of what it was then: it thrashes.
constexpr double kMore = 1.15;
constexpr double kThrashed = 0.7;

}  // namespace

Duration CauseTest::block_length(const Step& step, double throughput) const {
  const double usual = seconds(step.signals.usual_latency());
  // What comes back finds the latency of those that were cut off.
  const double latency = returning_ ? usual : std::max(seconds(step.signals.latency()), usual);
  const double length = std::max(kBlockLatencies * latency, kBlockAnswers / std::max(throughput, 1.0));
  return std::clamp(from_seconds(length), kShortestBlock, kLongestBlock);
}

void CauseTest::begin_search(Step& step, const UpstreamSignals::Span& span) {
  const int limit = *hold_.limit;
  doubts_ = 0;
  held_ = Block{span.in_flight, 0, span.throughput(), static_cast<double>(span.ok)};
  const std::string sentence = format("%.1f/s from %.0f calls in flight, %.1f/s from %.0f: the cause is likely ours",
                                      evidence_.x_ref, n_ref_, held_.throughput, held_.in_flight);
  cut_to(step, kVerify * limit);
  decide(
      step, CauseState::search, Cause::unidentified, sentence,
      format("r = %.1f / %.1f = %.2f; next %d in flight", held_.throughput, evidence_.x_ref, evidence_.r, *hold_.limit),
      "more answers from more calls: theirs after all");
}

// Whether the cause is still ours, or was: as in a test, more calls must not get more answers.
void CauseTest::doubt(Step& step, const UpstreamSignals::Span& block, const std::string& sentence) {
  look_again(step, block, sentence + ": is it still ours?");
}

void CauseTest::look_again(Step& step, const UpstreamSignals::Span& block, std::string sentence) {
  held_ = Block{block.in_flight, seconds(block.mean_latency()), block.throughput(), static_cast<double>(block.ok)};
  n_ref_ = block.in_flight;
  evidence_.x_ref = block.throughput();
  evidence_.calls_ref = static_cast<double>(block.ok);
  cut_to(step, kVerify * *hold_.limit);
  decide(step, CauseState::search, hold_.verdict, std::move(sentence),
         format("X = %.1f/s at %.0f in flight; next %d", held_.throughput, held_.in_flight, *hold_.limit),
         "more answers from more calls: theirs");
}

void CauseTest::search(Step& step) {
  const UpstreamCounts& counts = step.counts();
  const int limit = *hold_.limit;
  if (!drained_) {
    if (counts.in_flight >= kBinding * limit || step.now - began_ >= kFilled) drained_ = step.now;
    return;
  }
  const double x = std::max(held_.throughput, 1e-3);
  // What was sent with the level is answered a latency later.
  const Duration latency = std::min<Duration>(from_seconds(held_.in_flight / x), kFilled);
  const Duration needed =
      std::clamp<Duration>(from_seconds(std::max(kVerifyTurns * limit / x, kVerifyAnswers / x)), 300ms, 5s);
  const UpstreamSignals::Span span = step.signals.since(*drained_ + std::min(latency, needed / 2));
  // An innocent one answers no fewer while more are in flight; but after a cut answers come in waves.
  const double expected = x * span.seconds;
  const bool thrashes =
      hold_.verdict == Cause::ours && expected >= kThrashAnswers && static_cast<double>(span.ok) < kThrashes * expected;
  if (step.now - *drained_ < needed && !thrashes) return;
  if (alarmed_ && held_.latency > 0 && static_cast<double>(span.ok) < kSilent * expected) {
    // It was well again. What is overrun answers on.
    if (step.now - *drained_ < kSilence) return;
    end_test(step, Cause::unidentified, 0s, "no answers when more calls were let in: latency jumped, or it is dead");
    return;
  }
  if (too_few_came(span, counts, limit)) {
    end_test(step, Cause::unidentified, told_nothing(), "fewer calls came than the limit allows");
    return;
  }
  verify(step, span);
}

// What held when calls were cut must not rise when they are given back: a latency that falls by itself passes the one,
// one that rises the other.
void CauseTest::verify(Step& step, const UpstreamSignals::Span& span) {
  const double more = std::log(std::max(span.in_flight, 1.0) / std::max(held_.in_flight, 1.0));
  const double ratio = span.throughput() / std::max({held_.throughput, evidence_.x_ref, 1e-6});
  const double elasticity = std::log(std::max(ratio, 1e-3)) / std::max(more, kMoreToTell);
  evidence_.r = ratio;
  const bool limited = hold_.verdict == Cause::ours || hold_.verdict == Cause::full;
  if (more <= kMoreToTell) {
    if (limited) return begin_track(step, held_.in_flight, hold_.verdict, "calls in flight did not become more");
    end_test(step, Cause::unidentified, told_nothing(), "calls in flight did not become more");
    return;
  }
  if (elasticity > kRises && limited && ++doubts_ < kDoubts) {
    // Others may have gone down, whose share this is.
    begin_track(
        step, *hold_.limit, hold_.verdict,
        format("throughput rose to %.2f when %.0f in flight became %.0f: perhaps the cause is not ours any more", ratio,
               held_.in_flight, span.in_flight));
    return;
  }
  if (elasticity > kRises && alarmed_) {
    // It may be overrun again by what waits, if all of it comes at once.
    return look_again(step, span,
                      format("throughput rose to %.2f when %.0f in flight became %.0f: more of what waits is let in",
                             ratio, held_.in_flight, span.in_flight));
  }
  if (elasticity > kRises) {
    hold_off_ = std::max<Duration>(hold_off_, kWithdrawn);
    // A shortage that ended looks the same as a latency that fell.
    const bool over = span.mean_latency() <= from_seconds(kUsualRatio * seconds(step.signals.usual_latency()));
    end_test(step, over ? Cause::unidentified : Cause::theirs, hold_off_,
             format("throughput held when calls were cut but rose to %.2f when %.0f in flight became %.0f: %s", ratio,
                    held_.in_flight, span.in_flight,
                    over ? "the trouble is over, whose it was is not known" : "latency changed by itself"));
    return;
  }
  doubts_ = 0;
  begin_track(
      step, held_.in_flight, Cause::ours,
      format("%.1f/s at %.0f calls in flight, %.1f/s at %.0f, %.1f/s at %.0f: more calls get no more answers, the "
             "cause is ours",
             evidence_.x_ref, n_ref_, held_.throughput, held_.in_flight, span.throughput(), span.in_flight));
}

void CauseTest::begin_track(Step& step, double limit, Cause verdict, std::string sentence) {
  alarmed_ = burst_ = false;
  level_ = limit;
  base_.reset();
  slopes_ = slope_sum_ = slope_squares_ = 0;
  following_ = probes_ = 0;
  ceiling_ = 0;
  settled_latency_ = settled_throughput_ = 0;
  unbound_since_.reset();
  next_block(step, 1);
  hold_off_ = {};
  decide(step, CauseState::track, verdict, std::move(sentence),
         format("limit %d; X = %.1f/s, W = %.3g s, W_b = %.3g s", *hold_.limit, step.signals.throughput_fast(),
                seconds(step.signals.latency()), seconds(step.signals.usual_latency())),
         "grows while latency is usual or does not depend on the limit; ends when the limit is not reached for 2 s");
}

void CauseTest::next_block(Step& step, double factor) {
  factor_ = factor;
  set_limit(step, level_ * factor);
  block_began_ = step.now;
  block_length_ = until_mark(step, block_length(step, step.signals.throughput_fast()));
  bound_ticks_ = block_ticks_ = 0;
}

// From the beginning of the block to a mark that all nodes have in common, so that they go up and down together.
Duration CauseTest::until_mark(const Step& step, Duration wanted) const {
  Duration grid = kShortestBlock;
  while (grid < wanted) grid *= 2;
  const Duration length = grid - (step.context.wall - (step.now - block_began_)) % grid;
  return length < wanted / 2 ? length + grid : length;
}

void CauseTest::track(Step& step) {
  const UpstreamCounts& counts = step.counts();
  ++block_ticks_;
  const bool bound = counts.waiting > 0 || counts.in_flight >= kBinding * *hold_.limit;
  if (bound) ++bound_ticks_;
  if (bound) {
    unbound_since_.reset();
  } else if (!unbound_since_) {
    unbound_since_ = step.now;
  } else if (step.now - *unbound_since_ >= kUnbound) {
    end_test(step, Cause::none, 0s,
             format("the limit of %d was not reached for %.0f s: it is lifted", *hold_.limit, seconds(kUnbound)));
    return;
  }
  if (*hold_.limit >= step.context.max && level_ >= step.context.max) {
    end_test(step, Cause::none, 0s, format("the limit grew to %d, which bounds calls anyway", step.context.max));
    return;
  }
  // A step up that latency does not mind needs no longer block than latency is now.
  if (factor_ > 1 && seconds(step.signals.latency()) <= kUsualRatio * seconds(step.signals.usual_latency())) {
    block_length_ = std::min(block_length_, until_mark(step, block_length(step, step.signals.throughput_fast())));
  }
  if (step.now - block_began_ < block_length_) return;
  // The first part of a block still shows the one before.
  track_block(step, step.signals.since(std::max(block_began_ + block_length_ / 3, step.now - block_length_ / 3 * 2)));
}

void CauseTest::track_block(Step& step, const UpstreamSignals::Span& block) {
  const double w_b = std::max(seconds(step.signals.usual_latency()), 1e-6);
  const double throughput = block.throughput();
  // Little's law where answers are few.
  const double latency = block.ok >= 5
                             ? seconds(block.mean_latency())
                             : std::max(seconds(step.signals.latency()), block.in_flight / (throughput + 0.1));
  if (latency <= kUsualRatio * w_b) {
    const double well = returning_ ? kGrowBack : kGrowWell;
    if (bound_ticks_ * 2 >= block_ticks_) held_ = Block{block.in_flight, 0, throughput, static_cast<double>(block.ok)};
    if (factor_ > 1) level_ = std::max(level_, std::min(level_ * factor_, block.in_flight));
    const double highest = step.now < ceiling_until_ ? std::max(level_, ceiling_) : 1e7;
    level_ = std::min(level_ * (latency <= kWellRatio * w_b ? well : kGrowFair), highest);
    base_.reset();
    slopes_ = slope_sum_ = slope_squares_ = 0;
    following_ = 0;
    next_block(step, 1);
    return;
  }
  if (bound_ticks_ * 2 < block_ticks_) {
    base_.reset();
    next_block(step, 1);
    return;
  }
  if (returning_) {
    returning_ = false;
    if (step.now >= ours_until_) {
      const bool answered = std::max(held_.calls, static_cast<double>(block.ok)) >= kFewestReference;
      if (block.in_flight < kFewestInFlight || !answered) {
        end_test(step, Cause::none, 0s,
                 format("latency is %.3g s at %d calls in flight, usually %.3g s: the test decides", latency,
                        *hold_.limit, w_b));
        return;
      }
      if (held_.calls < kFewestReference) {
        doubt(step, block,
              format("latency is %.3g s at %d calls in flight, usually %.3g s", latency, *hold_.limit, w_b));
        return;
      }
      // The way up was the experiment.
      n_ref_ = held_.in_flight;
      evidence_.x_ref = held_.throughput;
      evidence_.calls_ref = held_.calls;
      verify(step, block);
      held_ = {};
      return;
    }
    decide(step, CauseState::track, Cause::ours,
           format("latency is %.3g s at %d calls in flight, usually %.3g s, as before: the cause is ours", latency,
                  *hold_.limit, w_b),
           format("verdict ours less than %.0f s ago", seconds(kRemembered)), "throughput follows the limit");
  }
  if (hold_.verdict == Cause::ours) ours_until_ = step.now + kRemembered;
  if (held_.calls > 0 && block.in_flight > kMore * held_.in_flight && throughput < kThrashed * held_.throughput &&
      hold_.verdict == Cause::ours) {
    // It thrashes there, and is not to come near for a while.
    level_ = ceiling_ = held_.in_flight;
    ceiling_until_ = step.now + kDescendAgain;
    held_ = {};
    base_.reset();
    next_block(step, 1);
    return;
  }
  if (settled_latency_ > 0 && latency > kJump * settled_latency_ && throughput < 0.6 * settled_throughput_) {
    // Capacity went away: what is still in the upstream has to drain first.
    level_ = std::max(level_ / 2, static_cast<double>(step.context.min));
    settled_latency_ = settled_throughput_ = 0;
    base_.reset();
    next_block(step, 1);
    return;
  }
  settled_latency_ = settled_latency_ == 0 ? latency : settled_latency_ + 0.3 * (latency - settled_latency_);
  settled_throughput_ =
      settled_throughput_ == 0 ? throughput : settled_throughput_ + 0.3 * (throughput - settled_throughput_);
  const double knee = throughput * w_b;
  const double lowest = std::max(kAboveKnee * knee + 2, static_cast<double>(step.context.min));
  if (!base_) {
    base_ = Block{block.in_flight, latency, throughput, static_cast<double>(block.ok)};
    if (latency > kFar * w_b && lowest < kNear * level_ && step.now >= descend_at_) {
      // Far above the knee: down for as long as throughput holds.
      next_block(step, std::max(kDescend, lowest / level_));
      return;
    }
    const bool low = level_ < 2 * kFewestInFlight || level_ < step.signals.usual_in_flight();
    if (ceiling_ > 0) {
      next_block(step, step.now < ceiling_until_ ? 1 : kStep);
      return;
    }
    next_block(step, low ? kDouble : ++probes_ % kRegretEvery == 0 ? kRegret : kStep);
    return;
  }
  const double more = std::log(block.in_flight / std::max(base_->in_flight, 0.1));
  if (std::abs(more) < 0.1) {
    base_.reset();
    next_block(step, 1);
    return;
  }
  const double slope = std::log(latency / base_->latency) / more;
  const double elasticity = std::log(std::max(throughput, 0.1) / std::max(base_->throughput, 0.1)) / more;
  slopes_ = kForget * slopes_ + 1;
  slope_sum_ = kForget * slope_sum_ + slope;
  slope_squares_ = kForget * slope_squares_ + slope * slope;
  const double mean = slope_sum_ / slopes_;
  const double spread = std::sqrt(std::max(0.0, slope_squares_ / slopes_ - mean * mean) / slopes_);
  if (factor_ < 1) {
    if (elasticity < kRises) {
      level_ *= factor_;
      following_ = 0;
    } else {
      descend_at_ = step.now + kDescendAgain;
      if (elasticity > kFollows) ++following_;
    }
  }
  if (factor_ > 1)
    following_ = elasticity > kFollows && slope < kFlat ? following_ + (factor_ >= kDouble ? kFollowed : 1) : 0;
  // Noise looks like either, and a limit that is lifted wrongly fills the upstream: many more calls tell for certain.
  const bool scattered = slopes_ > kFewestSlopes && spread > kScattered;
  if (hold_.verdict != Cause::full && (following_ >= kFollowed || scattered)) {
    doubt(step, block,
          scattered ? format("slopes of latency on calls in flight scatter, %.2f +- %.2f", mean, spread)
                    : format("throughput followed the limit, slope of latency %.2f", mean));
    return;
  }
  if (factor_ > 1 && mean > kSteep) {
    doubts_ = 0;
    level_ = std::max(level_ * kShrink, std::min(level_, kUsualRatio * knee));
  } else if (factor_ > 1 && mean < kFlat && mean + spread < kSteep) {
    level_ *= kGrow;
  }
  base_.reset();
  next_block(step, 1);
}

}  // namespace penstock::decision
