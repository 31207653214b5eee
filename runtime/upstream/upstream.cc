#include "penstock/upstream.h"

#include <chrono>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "runtime/admission/waiting.h"
#include "runtime/fiber/fiber_state.h"
#include "runtime/upstream/upstream_call.h"
#include "runtime/upstream/upstream_state.h"

namespace penstock {

Upstream::Upstream(std::unique_ptr<State> state) : state_(std::move(state)) {}
Upstream::~Upstream() = default;

Upstream::Call Upstream::begin() {
  fiber::require_fiber("Upstream::begin()");
  fiber::FiberState& fiber = fiber::current();
  auto call = std::make_unique<Call::State>(*this, state_->name, fiber);
  const Instant arrived = fiber::recent_now();
  if (!state_->begin_here(*call, arrived, fiber.deadline)) begin_slowly(*call, arrived, fiber.deadline);
  if (state_->watched.load(std::memory_order_relaxed)) state_->watch(*call, fiber.deadline);
  return Call(std::move(call));
}

void Upstream::begin_slowly(Call::State& call, Instant arrived, Instant request_deadline) {
  using Guard = decision::UpstreamGuard;
  State& state = *state_;
  const auto refuse = [&](RejectReason reason, Duration retry_after) {
    state.outcomes[kRejectedOutcome]->add();
    throw Rejected(reason, retry_after, "upstream " + state.name + ": " + std::string(decision::to_string(reason)));
  };

  Waiting waiting({.what = "a place in upstream", .name = &state.name});
  call.fiber = &waiting;
  if (const auto& account = fiber::current().account) {
    call.priority = account->priority;
    call.tenant = account->tenant;
  }
  Guard::Answer answer{Guard::Offer::go};
  // Under the lock.
  const auto settled = [&](const Guard::Answer& given) {
    answer = given;
    if (answer.offer == Guard::Offer::refused) ++state.counts[kRejectedOutcome];
  };

  state.locked(*this, arrived, [&](State::Effects& effects) {
    ++state.slow_paths;
    state.sweep(false, arrived, effects.decided);
    if (request_deadline > arrived && state.open_shard(arrived) && state.begin_here(call, arrived, request_deadline)) {
      return;
    }
    if (state.guard.free_places() == 0) state.sweep(true, arrived, effects.decided);
    settled(state.guard.offer(call, request_deadline, arrived, effects.decided));
  });
  if (answer.offer == Guard::Offer::refused) refuse(answer.reason, answer.retry_after);
  if (answer.offer == Guard::Offer::go) return;

  const auto withdraw = [&] {
    std::lock_guard guard(state.lock);
    return state.guard.withdraw(call);
  };
  const auto give_up = [&](Instant at, CallOutcome as, bool admitted) {
    state.locked(*this, at, [&](State::Effects& effects) {
      ++state.counts[static_cast<std::size_t>(as)];
      if (admitted) state.guard.give_back(call, at, effects.decided);
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
    if (admitted) return settled(state.guard.start(call, woken, effects.decided));
    settled({Guard::Offer::refused, *verdict, state.guard.breaker().retry_after(woken)});
  });
  if (answer.offer == Guard::Offer::refused) refuse(answer.reason, answer.retry_after);
}

bool Upstream::try_retry() {
  const Instant at = fiber::recent_now();
  bool allowed = false;
  state_->locked(*this, at, [&](State::Effects& effects) {
    state_->sweep(false, at, effects.decided);
    allowed = state_->guard.try_retry(at);
  });
  if (const auto watching = state_->watching(); watching && allowed) watching->retry(at);
  return allowed;
}

const std::string& Upstream::name() const { return state_->name; }

int Upstream::limit() const {
  int limit = 0;
  state_->locked(*this, std::chrono::steady_clock::now(), [&](State::Effects&) { limit = state_->guard.limit(); });
  return limit;
}

int Upstream::in_flight() const {
  const Instant at = std::chrono::steady_clock::now();
  int in_flight = 0;
  state_->locked(*this, at, [&](State::Effects& effects) {
    state_->sweep(false, at, effects.decided);
    in_flight = state_->guard.in_flight();
  });
  return in_flight;
}

decision::BreakerState Upstream::breaker() const {
  std::lock_guard guard(state_->lock);
  return state_->guard.breaker().state();
}

}  // namespace penstock
