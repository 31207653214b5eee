#include "penstock/decision/circuit_breaker.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <utility>
#include <vector>

#include "decision/call_window.h"
#include "decision/text.h"
#include "decision/usefulness.h"
#include "decision/usual_latency.h"
#include "penstock/decision/call_lane.h"
#include "penstock/decision/call_list.h"

namespace penstock::decision {

static_assert(CallList::kBins == Usefulness::kEdges.size());

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
// Spread of the open time, so that nodes do not probe in step.
constexpr double kJitter = 0.1;
// From the first admitted calls to all of them, beginning with kFirstShare.
constexpr Duration kSlowStart = std::chrono::milliseconds(1500);
constexpr double kFirstShare = 0.1;
// A probe hangs when older than this many times the usual latency, but not below kShortestHang.
constexpr int kHangFactor = 4;
constexpr Duration kShortestHang = std::chrono::seconds(1);
// Weight of one call in the typical patience.
constexpr double kPatienceWeight = 1.0 / 32;

}  // namespace

std::string_view to_string(BreakerState state) {
  switch (state) {
    case BreakerState::closed:
      return "closed";
    case BreakerState::open:
      return "open";
    case BreakerState::half_open:
      return "half_open";
  }
  return "unknown";
}

struct CircuitBreaker::State {
  State(const BreakerPolicy& policy, Duration timeout, std::uint64_t seed)
      : policy(policy), timeout(timeout), random(seed), window(policy.window) {
    probes.reserve(static_cast<std::size_t>(std::max(policy.probes, 1)));
  }

  // Calls that began before the last close by probes say nothing about the upstream as it is now.
  bool counts(const Call& call) const { return call.era >= first_era; }

  void age(Call& call, int bin) {
    for (; call.bin < bin; ++call.bin) {
      if (counts(call)) usefulness.survived(call.bin, call.started);
    }
  }

  void mark_slow(Call& call, Instant now) {
    if (call.slow) return;
    call.slow = true;
    if (!counts(call)) return;
    CallWindow::Sums& sums = window.at(now);
    ++sums.timed;
    ++sums.slow;
  }

  void age_all(CallList& list, Instant now) {
    list.for_each_aged(Usefulness::kEdges, now, [&](Call& call, int bin) { age(call, bin); });
    if (!policy.slow_call) return;
    list.for_each_slow(policy.slow_call->over, now, [&](Call& call) { mark_slow(call, now); });
  }

  void add_patience(Duration sum, std::int64_t calls) {
    const double mean = seconds(sum) / static_cast<double>(calls);
    const double weight = calls == 1 ? kPatienceWeight : 1 - std::pow(1 - kPatienceWeight, calls);
    patience = patience == 0 ? mean : patience + weight * (mean - patience);
  }

  Duration typical_patience() const { return patience == 0 ? timeout : std::min(timeout, from_seconds(patience)); }

  // --- states

  double uniform() {  // splitmix64 (S. Vigna, public domain), in [0,1)
    std::uint64_t z = (random += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1p-53;
  }

  Duration jittered(Duration d) { return from_seconds(seconds(d) * (1 - kJitter + 2 * kJitter * uniform())); }

  void change(BreakerState to, Instant now, std::string reason, std::string message) {
    transitions.push_back({state, to, now, std::move(reason), std::move(message)});
    state = to;
    below_since.reset();
  }

  void open(Instant now, Instant due, std::string reason, std::string message) {
    probe_due = due;
    by_usefulness = reason == "usefulness" || (by_usefulness && reason == "probe_failed");
    ++era;
    if (state == BreakerState::closed) opened_at = now;
    change(BreakerState::open, now, std::move(reason), std::move(message));
  }

  void half_open(Instant now) {
    probes_failed = probes_succeeded = 0;
    probes.clear();
    next_batch(now);
    change(BreakerState::half_open, now, "timer",
           format("%d probes after %.1f s", policy.probes, seconds(now - opened_at)));
  }

  // Probes of earlier batches still count when they end, but no longer hold a place.
  void next_batch(Instant now) {
    ++era;
    batch_era = era;
    probing = 0;
    batch_started = now;
    batch_ends = now + jittered(policy.open);
  }

  void close(Instant now, std::string reason, std::string message, bool forget) {
    ++era;
    if (forget) {
      first_era = era;
      usefulness.reset(now);
    }
    window.clear();
    probes.clear();
    slow_start = now;
    credit = 1;
    change(BreakerState::closed, now, std::move(reason), std::move(message));
  }

  void reopen(Instant now, std::string message) {
    // The open time runs from the start of the probes, so that slow failing does not lengthen it.
    open(now, std::max(batch_started + jittered(policy.open), now + policy.open / 4), "probe_failed",
         std::move(message));
  }

  // --- judging

  void judge_rules(Instant now) {
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

  void judge_usefulness(Instant now, double pressure) {
    const auto estimate = usefulness.estimate(typical_patience(), now);
    const double p = std::clamp(pressure, 0.0, 1.0);
    const double threshold = kThresholdPlenty + (kThresholdPressed - kThresholdPlenty) * p * p;
    const Duration silence = usefulness.silence(now);
    const bool silent = silence >= usefulness.bearable_silence(typical_patience());
    const auto low = [&] {
      if (estimate->upper < threshold) return true;
      return silent && usefulness.hanging() && usefulness.fruitless() >= kHangingCalls && estimate->value < threshold;
    };
    if (!policy.usefulness || !estimate || !low()) {
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

  // A trip for lack of usefulness was wrong if the calls from before it, or slow probes, are answered in time after
  // all.
  void judge_late_answers(Instant now) {
    if (!by_usefulness || late_answers < policy.probes) return;
    const auto estimate = usefulness.estimate(typical_patience(), now);
    if (!estimate || !estimate->identified || estimate->value < kUseful) return;
    close(now, "usefulness",
          format("%d answers came in time after all: usefulness %.2f, patience %.1f s", late_answers, estimate->value,
                 seconds(typical_patience())),
          false);
  }

  Duration hang_limit() const { return std::max(kHangFactor * usual.get(), kShortestHang); }

  int probes_to_fail() const { return policy.probes / 2 + 1; }

  void judge_probes(Instant now) {
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

  void probe_ended(Call& call, CallOutcome outcome, Instant now) {
    const auto it = std::find(probes.begin(), probes.end(), &call);
    if (it == probes.end()) return;
    probes.erase(it);
    if (call.era == batch_era) --probing;
    if (state != BreakerState::half_open) return;
    if (outcome == CallOutcome::ok) {
      if (++probes_succeeded >= policy.probes) {
        close(now, "probes_succeeded",
              format("%d probes succeeded, the last in %.3f s; closed for %.1f s of slow start", probes_succeeded,
                     seconds(now - call.started), seconds(kSlowStart)),
              true);
      }
    } else if (outcome != CallOutcome::cancelled && ++probes_failed >= probes_to_fail()) {
      reopen(now, format("%d of %d probes failed", probes_failed, policy.probes));
    }
  }

  bool admit_closed(Instant now) {
    if (forced == BreakerForce::closed || !slow_start) return true;
    const double share = kFirstShare + (1 - kFirstShare) * seconds(now - *slow_start) / seconds(kSlowStart);
    if (share >= 1) {
      slow_start.reset();
      return true;
    }
    credit += share;
    if (credit < 1) return false;
    credit -= 1;
    return true;
  }

  BreakerPolicy policy;
  Duration timeout;
  std::uint64_t random;

  BreakerState state = BreakerState::closed;
  BreakerForce forced = BreakerForce::automatic;
  std::deque<Transition> transitions;

  CallList calls;
  // Which rule for slow calls lanes have last been looked at by.
  std::uint32_t slow_rule = 0;
  CallWindow window;
  Usefulness usefulness;
  UsualLatency usual;
  double patience = 0;
  std::optional<Instant> below_since;
  Instant ticked{};

  // Grows with every change that sets calls apart.
  std::uint32_t era = 0;
  std::uint32_t first_era = 0;
  bool by_usefulness = false;
  int late_answers = 0;

  Instant opened_at{};
  Instant probe_due{};
  std::vector<Call*> probes;
  std::uint32_t batch_era = 0;
  int probing = 0;
  Instant batch_started{};
  Instant batch_ends{};
  int probes_succeeded = 0;
  int probes_failed = 0;

  std::optional<Instant> slow_start;
  double credit = 0;
};

CircuitBreaker::CircuitBreaker(const BreakerPolicy& policy, Duration timeout, std::uint64_t seed)
    : state_(std::make_unique<State>(policy, timeout, seed)) {}
CircuitBreaker::~CircuitBreaker() = default;

bool CircuitBreaker::begin(Call& call, Duration patience, Instant now) {
  State& s = *state_;
  bool probe = false;
  if (s.state != BreakerState::closed) {
    if (s.forced != BreakerForce::automatic) return false;
    if (s.state == BreakerState::open) {
      if (now < s.probe_due) return false;
      s.half_open(now);
    }
    if (s.probing + s.probes_succeeded >= s.policy.probes) return false;
    probe = true;
  } else if (!s.admit_closed(now)) {
    return false;
  }
  call.started = now;
  call.patience = std::min(patience, s.timeout);
  call.probe = probe;
  call.bin = 0;
  call.slow = false;
  call.era = s.era;
  s.add_patience(call.patience, 1);
  s.calls.append(call);
  s.usefulness.begun(now);
  if (probe) {
    ++s.probing;
    s.probes.push_back(&call);
  }
  return true;
}

void CircuitBreaker::end(Call& call, CallOutcome outcome, Instant now) {
  State& s = *state_;
  const Duration age = now - call.started;
  s.age(call, Usefulness::bin_of(age));
  call.list->remove(call);
  const bool ok = outcome == CallOutcome::ok;
  if (s.counts(call)) {
    if (ok && age <= call.patience) {
      s.usefulness.succeeded(call.bin, call.started, now);
    } else if (outcome == CallOutcome::cancelled) {
      s.usefulness.gone(call.bin, call.started);
    } else {
      s.usefulness.failed(call.bin, call.started, outcome == CallOutcome::error);
    }
    if (outcome != CallOutcome::cancelled) {
      CallWindow::Sums& sums = s.window.at(now);
      ++sums.ended;
      if (!ok) ++sums.failed;
      if (!call.slow) ++sums.timed;
      if (!call.slow && s.policy.slow_call && age > s.policy.slow_call->over) ++sums.slow;
    }
    if (ok && s.state == BreakerState::closed) s.usual.add(age);
    if (ok && s.state != BreakerState::closed) ++s.late_answers;
  }
  if (call.probe) s.probe_ended(call, outcome, now);
  if (s.state == BreakerState::closed && s.forced == BreakerForce::automatic) s.judge_rules(now);
}

bool CircuitBreaker::steady(Instant now) const {
  const State& s = *state_;
  return s.state == BreakerState::closed &&
         (s.forced == BreakerForce::closed || !s.slow_start || now - *s.slow_start >= kSlowStart);
}

void CircuitBreaker::entrust(CallLane& lane) const {
  const State& s = *state_;
  lane.era_ = s.era;
  lane.timeout_ = s.timeout;
  lane.shorter_than_ = Usefulness::kEdges[1];
  // A call of exactly that time is not slow yet.
  if (s.policy.slow_call) lane.shorter_than_ = std::min(lane.shorter_than_, s.policy.slow_call->over);
}

void CircuitBreaker::collect(CallLane& lane, Instant now) {
  State& s = *state_;
  const CallLane::Told told = std::exchange(lane.told_, {});
  s.usefulness.tell(
      {.begun = told.begun, .succeeded = told.succeeded, .starts = told.starts, .last_success = told.last});
  if (told.begun != 0) s.add_patience(told.patience, told.begun);
  if (told.succeeded == 0) return;
  CallWindow::Sums& sums = s.window.at(now);
  sums.ended += told.succeeded;
  sums.timed += told.succeeded;
  s.usual.add(told.ages, told.succeeded);
}

void CircuitBreaker::age(CallLane& lane, Instant now) {
  State& s = *state_;
  if (std::exchange(lane.slow_rule_, s.slow_rule) != s.slow_rule) lane.list_.restart_slow();
  s.age_all(lane.list_, now);
}

void CircuitBreaker::tick(Instant now, double memory_pressure) {
  State& s = *state_;
  s.ticked = now;
  s.age_all(s.calls, now);
  s.usefulness.decay(now);
  if (s.forced != BreakerForce::automatic) return;
  switch (s.state) {
    case BreakerState::closed:
      s.judge_rules(now);
      if (s.state == BreakerState::closed) s.judge_usefulness(now, memory_pressure);
      if (s.state == BreakerState::open) s.late_answers = 0;
      return;
    case BreakerState::open:
      s.judge_late_answers(now);
      if (s.state == BreakerState::open && now >= s.probe_due) s.half_open(now);
      return;
    case BreakerState::half_open:
      s.judge_probes(now);
      return;
  }
}

void CircuitBreaker::force(BreakerForce force, std::string reason, Instant now) {
  State& s = *state_;
  if (s.forced == force) return;
  const BreakerForce before = std::exchange(s.forced, force);
  switch (force) {
    case BreakerForce::open:
      if (s.state != BreakerState::open) s.open(now, now, "forced", std::move(reason));
      return;
    case BreakerForce::closed:
      if (s.state != BreakerState::closed) s.close(now, "forced", std::move(reason), true);
      s.slow_start.reset();
      return;
    case BreakerForce::automatic:
      // Nothing is known of an upstream that nobody called: probe at once.
      if (before == BreakerForce::open) s.probe_due = now;
      return;
  }
}

void CircuitBreaker::trip(std::string reason, Instant now) {
  State& s = *state_;
  if (s.forced != BreakerForce::automatic) return;
  const Instant due = now + s.jittered(s.policy.open);
  if (s.state == BreakerState::open) {
    s.probe_due = std::max(s.probe_due, due);
    return;
  }
  s.open(now, due, "fleet", std::move(reason));
}

void CircuitBreaker::set_policy(const BreakerPolicy& policy, Duration timeout, Instant now) {
  State& s = *state_;
  if (s.policy.slow_call != policy.slow_call) {
    s.calls.restart_slow();
    ++s.slow_rule;
  }
  s.policy = policy;
  s.timeout = timeout;
  s.window.set_window(policy.window);
  if (s.state == BreakerState::open) s.probe_due = std::min(s.probe_due, now + s.jittered(policy.open));
}

BreakerState CircuitBreaker::state() const { return state_->state; }
BreakerForce CircuitBreaker::forced() const { return state_->forced; }

Duration CircuitBreaker::retry_after(Instant now) const {
  const State& s = *state_;
  const auto until = [&](Instant t) { return std::max(t - now, Duration::zero()); };
  switch (s.state) {
    case BreakerState::closed:
      return s.slow_start ? until(*s.slow_start + kSlowStart) : Duration::zero();
    case BreakerState::open:
      return s.forced == BreakerForce::open ? s.policy.open : until(s.probe_due);
    case BreakerState::half_open:
      return until(s.batch_ends);
  }
  return Duration::zero();
}

std::optional<double> CircuitBreaker::usefulness() const {
  const State& s = *state_;
  const auto estimate = s.usefulness.estimate(s.typical_patience(), s.ticked);
  if (!estimate) return std::nullopt;
  return estimate->value;
}

Duration CircuitBreaker::oldest(Instant now) const {
  const Call* first = state_->calls.first();
  return first ? now - first->started : Duration::zero();
}

std::optional<CircuitBreaker::Transition> CircuitBreaker::take_transition() {
  if (state_->transitions.empty()) return std::nullopt;
  Transition transition = std::move(state_->transitions.front());
  state_->transitions.pop_front();
  return transition;
}

}  // namespace penstock::decision
