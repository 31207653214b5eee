#include "penstock/upstream.h"

#include <algorithm>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "runtime/fiber/fiber_state.h"
#include "runtime/upstream/upstream_call.h"
#include "runtime/upstream/upstream_state.h"

namespace penstock {

using decision::Admission;
using decision::BreakerState;

Upstream::Upstream(std::unique_ptr<State> state) : state_(std::move(state)) {}
Upstream::~Upstream() = default;

Upstream::Call Upstream::begin() {
  fiber::require_fiber("Upstream::begin()");
  fiber::FiberState& fiber = fiber::current();
  auto call = std::make_unique<Call::State>(*this, state_->name, fiber);
  const Instant arrived = fiber::recent_now();
  if (!state_->begin_here(*call, arrived, fiber.deadline)) begin_slowly(*call, arrived, fiber.deadline);
  return Call(std::move(call));
}

void Upstream::begin_slowly(Call::State& call, Instant arrived, Instant request_deadline) {
  State& state = *state_;
  const auto refuse = [&](RejectReason reason, Duration retry_after) {
    state.outcomes[kRejectedOutcome]->add();
    throw Rejected(reason, retry_after, "upstream " + state.name + ": " + std::string(decision::to_string(reason)));
  };

  Waiting waiting({.what = "a place in upstream", .name = &state.name});
  enum class Next { go, wait, refused } next = Next::go;
  RejectReason reason{};
  Duration retry_after{};
  // Under the lock.
  const auto refused = [&](RejectReason why, Duration after) {
    ++state.counts[kRejectedOutcome];
    reason = why;
    retry_after = after;
    next = Next::refused;
  };
  const auto started = [&](Instant at) {
    call.started = at;
    ++state.in_flight;
    next = Next::go;
  };

  state.locked(*this, arrived, [&](State::Effects& effects) {
    ++state.slow_paths;
    state.sweep(false, arrived, effects.decided);
    if (request_deadline > arrived && state.open_shard(arrived) && state.begin_here(call, arrived, request_deadline)) {
      return;
    }
    ++state.attempts;
    state.retries.call(arrived);
    call.deadline = std::min(request_deadline, arrived + state.timeout_in_force());
    waiting.deadline = call.deadline;
    if (request_deadline <= arrived) return refused(RejectReason::deadline, Duration::zero());
    const Duration patience = std::min(call.deadline - arrived, Duration(state.policy.timeout));
    if (state.breaker.state() != BreakerState::closed) {
      if (!state.pass_breaker(call.call, call.tracked, patience, arrived)) {
        return refused(RejectReason::breaker, state.breaker.retry_after(arrived));
      }
      // A probe. The places may be held by calls that hang: it goes past them.
      if (call.tracked) return started(arrived);
    }
    if (state.admission.in_flight() >= state.admission.limit()) state.sweep(true, arrived, effects.decided);
    const Admission::Answer answer = state.admission.offer(waiting, arrived, effects.decided);
    if (answer.offer == Admission::Offer::admitted) {
      call.placed = true;
      if (!state.pass_breaker(call.call, call.tracked, patience, arrived)) {
        state.admission.release(Duration::zero(), arrived, effects.decided);
        return refused(RejectReason::breaker, state.breaker.retry_after(arrived));
      }
      return started(arrived);
    }
    if (answer.offer == Admission::Offer::rejected) return refused(answer.reason, answer.retry_after);
    // The breaker is asked when it gets its place: it judges calls from their real start.
    try {
      state.queued.insert(&waiting);
    } catch (...) {
      state.admission.withdraw(waiting);
      throw;
    }
    next = Next::wait;
  });
  if (next == Next::refused) refuse(reason, retry_after);
  if (next == Next::go) return;

  const auto withdraw = [&] {
    std::lock_guard guard(state.lock);
    if (!state.admission.withdraw(waiting)) return false;
    state.queued.erase(&waiting);
    return true;
  };
  const auto give_up = [&](Instant at, CallOutcome as, bool admitted) {
    state.locked(*this, at, [&](State::Effects& effects) {
      ++state.counts[static_cast<std::size_t>(as)];
      if (admitted) state.admission.release(Duration::zero(), at, effects.decided);
    });
    state.outcomes[static_cast<std::size_t>(as)]->add();
  };
  fiber::Wake wake;
  try {
    wake = waiting.waiter.wait(call.deadline);
  } catch (...) {
    const bool withdrawn = withdraw();
    give_up(fiber::recent_now(), CallOutcome::error, !withdrawn && !waiting.verdict());
    throw;
  }
  const bool withdrawn = wake != fiber::Wake::notified && withdraw();
  std::optional<RejectReason> verdict;
  if (!withdrawn) verdict = waiting.verdict();
  const Instant woken = fiber::recent_now();
  const bool admitted = !withdrawn && !verdict;
  if (wake == fiber::Wake::cancelled) {
    give_up(woken, CallOutcome::cancelled, admitted);
    fiber::throw_if_interrupted(wake, "a call to an upstream");
    throw Cancelled("cancelled while waiting for upstream " + state.name);
  }
  if (withdrawn) verdict = woken >= request_deadline ? RejectReason::deadline : RejectReason::queue_timeout;

  state.locked(*this, woken, [&](State::Effects& effects) {
    if (!admitted) return refused(*verdict, state.breaker.retry_after(woken));
    call.placed = true;
    const Duration patience = std::max(call.deadline - woken, Duration::zero());
    if (!state.pass_breaker(call.call, call.tracked, patience, woken)) {
      state.admission.release(Duration::zero(), woken, effects.decided);
      return refused(RejectReason::breaker, state.breaker.retry_after(woken));
    }
    started(woken);
  });
  if (next == Next::refused) refuse(reason, retry_after);
}

bool Upstream::try_retry() {
  const Instant at = fiber::recent_now();
  bool allowed = false;
  state_->locked(*this, at, [&](State::Effects& effects) {
    state_->sweep(false, at, effects.decided);
    allowed = state_->retries.try_retry(at);
  });
  return allowed;
}

const std::string& Upstream::name() const { return state_->name; }

int Upstream::limit() const {
  std::lock_guard guard(state_->lock);
  return state_->limit_in_force();
}

int Upstream::in_flight() const {
  std::lock_guard guard(state_->lock);
  int in_flight = state_->in_flight;
  telemetry::read_together(state_->shards.get(), [&](const Shard& shard) { in_flight += shard.in_flight; });
  return in_flight;
}

BreakerState Upstream::breaker() const {
  std::lock_guard guard(state_->lock);
  return state_->breaker.state();
}

}  // namespace penstock
