#include <algorithm>
#include <utility>

#include "decision/circuit_breaker_state.h"
#include "decision/text.h"
#include "penstock/decision/prefetch.h"

// What speaks for opening and closing a breaker.
namespace penstock::decision {
namespace {

// Usefulness below which an upstream is cut off with memory plentiful, and with none left. Between, the square of the
// pressure counts: a half-full memory is no emergency.
constexpr double kThresholdPlenty = 0.03;
constexpr double kThresholdPressed = 0.5;
// So many calls that hang together for longer than is bearable are believed without the confidence bound, which thin
// traffic meets too late. At fifteen calls a second of which one in ten is answered, chance does that once in an hour.
constexpr std::int64_t kHangingCalls = 50;
// How long F must stay below, unless nothing at all succeeded for Usefulness::bearable_silence().
constexpr Duration kHold = std::chrono::seconds(1);
// Late answers of calls from before a trip close the breaker at this F.
constexpr double kUseful = 0.5;
// A probe hangs when older than this many times the usual latency, but not below kShortestHang.
constexpr int kHangFactor = 4;
constexpr Duration kShortestHang = std::chrono::seconds(1);

}  // namespace

void CircuitBreaker::State::judge_rules(Instant now) {
  if (!policy.error_ratio && !policy.slow_call) return;
  const CallWindow::Sums sums = window.sums(now);
  if (policy.error_ratio && sums.ended >= policy.min_calls) {
    const double share = static_cast<double>(sums.failed) / static_cast<double>(sums.ended);
    if (share > *policy.error_ratio || share >= 1) {
      open(now, now + jittered(policy.open), "error_ratio",
           format("%lld of %lld calls of the last %.3g s failed: %.1f %%, more than %.1f %%",
                  static_cast<long long>(sums.failed), static_cast<long long>(sums.ended), seconds(policy.window),
                  share * 100, *policy.error_ratio * 100));
      return;
    }
  }
  if (policy.slow_call && sums.timed >= policy.min_calls) {
    const double share = static_cast<double>(sums.slow) / static_cast<double>(sums.timed);
    if (share > policy.slow_call->ratio || share >= 1) {
      open(now, now + jittered(policy.open), "slow_call_ratio",
           format("%lld of %lld calls of the last %.3g s took more than %.3g s: %.1f %%, more than %.1f %%",
                  static_cast<long long>(sums.slow), static_cast<long long>(sums.timed), seconds(policy.window),
                  seconds(policy.slow_call->over), share * 100, policy.slow_call->ratio * 100));
    }
  }
}

void CircuitBreaker::State::judge_usefulness(Instant now, double pressure) {
  if (!policy.usefulness || usefulness.at_least(kThresholdPressed, typical_patience())) {
    below_since.reset();
    return;
  }
  const auto estimate = usefulness.estimate(typical_patience(), now);
  const double p = std::clamp(pressure, 0.0, 1.0);
  const double threshold = kThresholdPlenty + (kThresholdPressed - kThresholdPlenty) * p * p;
  const Duration silence = usefulness.silence(now);
  const bool silent = silence >= usefulness.bearable_silence(typical_patience());
  const auto low = [&] {
    if (estimate->upper < threshold) return true;
    return silent && usefulness.hanging() && usefulness.fruitless() >= kHangingCalls && estimate->value < threshold;
  };
  if (!estimate || !low()) {
    below_since.reset();
    return;
  }
  if (!below_since) below_since = now;
  // Whatever the memory: a pause that is shorter than what all have to bear is no reason.
  const bool answers = estimate->value >= kThresholdPlenty;
  if (!silent && !(answers && now - *below_since >= kHold)) return;
  open(now, now + jittered(policy.open), "usefulness",
       format("usefulness %.3f (95 %% below %.3f), threshold %.3f at memory pressure %.2f; no success for %.1f s, "
              "%lld calls since; patience %.1f s",
              estimate->value, estimate->upper, threshold, p, seconds(silence),
              static_cast<long long>(usefulness.fruitless()), seconds(typical_patience())));
}

bool CircuitBreaker::State::idle(Instant now) {
  const CallWindow::Sums sums = window.sums(now);
  return state == BreakerState::closed && sums.failed == 0 && sums.slow == 0 &&
         usefulness.stays_at_least(kThresholdPressed, typical_patience());
}

void CircuitBreaker::State::judge_late_answers(Instant now) {
  if (!by_usefulness || late_answers < policy.probes) return;
  const auto estimate = usefulness.estimate(typical_patience(), now);
  if (!estimate || !estimate->identified || estimate->value < kUseful) return;
  close(now, "usefulness",
        format("%d answers came in time after all: usefulness %.2f, patience %.1f s", late_answers, estimate->value,
               seconds(typical_patience())),
        false);
}

// Cut off is sooner said than dead: calls from before may still be answered in time.
void CircuitBreaker::State::judge_death(Instant now) {
  if (!suspected) return;
  dead = dead || failed_at_once || now - silent_since >= typical_patience();
}

Duration CircuitBreaker::State::hang_limit() const { return std::max(kHangFactor * usual.get(), kShortestHang); }

void CircuitBreaker::State::judge_probes(Instant now) {
  int hanging = 0;
  Duration oldest{};
  for (const Call* probe : probes) {
    const Duration age = now - probe->started;
    if (age < std::min(hang_limit(), probe->patience)) continue;
    ++hanging;
    oldest = std::max(oldest, age);
  }
  if (hanging + probes_failed >= probes_to_fail()) {
    reopen(now, format("of %d probes %d failed and %d hang, the oldest for %.1f s", policy.probes, probes_failed,
                       hanging, seconds(oldest)));
  } else if (now >= batch_ends) {
    next_batch(now);
  }
}

}  // namespace penstock::decision
