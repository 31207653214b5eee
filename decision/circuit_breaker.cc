#include "penstock/decision/circuit_breaker.h"

#include <algorithm>
#include <new>
#include <utility>

#include "decision/circuit_breaker_state.h"
#include "penstock/decision/call_lane.h"
#include "penstock/decision/prefetch.h"

namespace penstock::decision {

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
    try {
      s.probes.push_back(&call);
    } catch (const std::bad_alloc&) {
      return false;
    }
    probe = true;
  } else if (!s.admit_closed(now)) {
    return false;
  }
  call.started = now;
  call.patience = std::min(patience, s.timeout);
  call.probe = probe;
  call.era = s.era;
  s.add_patience(call.patience, 1);
  s.calls.append(call);
  s.usefulness.begun(now);
  if (probe) ++s.probing;
  return true;
}

void CircuitBreaker::end(Call& call, CallOutcome outcome, Instant now) {
  State& s = *state_;
  const Duration age = now - call.started;
  const int seen = call.list->bin(call);
  const int bin = std::max(seen, Usefulness::bin_of(age));
  s.survived(call.started, call.era, seen, bin);
  const bool known_slow = call.list->slow(call);
  call.list->remove(call);
  const bool ok = outcome == CallOutcome::ok;
  if (s.counts(call.era)) {
    if (ok && age <= call.patience) {
      s.usefulness.succeeded(bin, call.started, now);
    } else if (outcome == CallOutcome::cancelled) {
      s.usefulness.gone(bin, call.started);
    } else {
      s.usefulness.failed(bin, call.started, outcome == CallOutcome::error);
    }
    if (outcome != CallOutcome::cancelled) {
      const bool slow = !known_slow && s.policy.slow_call && age > s.policy.slow_call->over;
      s.window.add({.ended = 1, .failed = ok ? 0 : 1, .timed = known_slow ? 0 : 1, .slow = slow ? 1 : 0}, now);
    }
    if (ok && s.state == BreakerState::closed) s.usual.add(age);
    if (ok && s.state != BreakerState::closed) {
      ++s.late_answers;
      s.silent_since = now;
    }
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

CircuitBreaker::Collected CircuitBreaker::collect(CallLane& lane, Instant now) {
  State& s = *state_;
  const CallLane::Told told = std::exchange(lane.told_, {});
  s.usefulness.tell(
      {.begun = told.begun, .succeeded = told.succeeded, .starts = told.starts, .last_success = told.last});
  if (told.begun != 0) s.add_patience(told.patience, told.begun);
  if (told.succeeded != 0) {
    s.window.add({.ended = told.succeeded, .timed = told.succeeded}, now);
    s.usual.add(told.ages, told.succeeded);
  }
  return {told.begun, told.succeeded, told.starts, told.ages};
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
      s.judge_death(now);
      if (s.state == BreakerState::open && now >= s.probe_due) s.half_open(now);
      return;
    case BreakerState::half_open:
      s.judge_probes(now);
      s.judge_death(now);
      return;
  }
}

bool CircuitBreaker::idle(Instant now) const { return steady(now) && state_->idle(now); }

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

void CircuitBreaker::prefetch() const {
  const State& s = *state_;
  decision::prefetch(&s, &s.usefulness);
  s.usefulness.prefetch();
  s.window.prefetch();
}

void CircuitBreaker::prefetch_told() const { decision::prefetch(&state_->window, &state_->usual + 1); }

bool CircuitBreaker::prefetch_aged(Instant now) const {
  state_->calls.prefetch_aged(now);
  return state_->usefulness.prefetch_bins();
}

void CircuitBreaker::prefetch_aged(const CallLane& lane, Instant now) const { lane.list_.prefetch_aged(now); }

BreakerState CircuitBreaker::state() const { return state_->state; }
bool CircuitBreaker::dead() const { return state_->state != BreakerState::closed && state_->dead; }
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

Duration CircuitBreaker::answered_within(double share) const { return state_->usefulness.soonest(share); }

Duration CircuitBreaker::patience() const { return state_->typical_patience(); }

Duration CircuitBreaker::oldest(Instant now) const {
  const Instant started = state_->calls.oldest();
  return started < Instant::max() ? now - started : Duration::zero();
}

std::optional<CircuitBreaker::Transition> CircuitBreaker::take_transition() {
  if (state_->transitions.empty()) return std::nullopt;
  Transition transition = std::move(state_->transitions.front());
  state_->transitions.pop_front();
  return transition;
}

}  // namespace penstock::decision
