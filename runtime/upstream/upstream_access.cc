#include "runtime/upstream/upstream_access.h"

#include <algorithm>
#include <mutex>
#include <stdexcept>
#include <utility>

#include "runtime/upstream/upstream_state.h"

namespace penstock {

std::unique_ptr<Upstream> UpstreamAccess::make(const decision::UpstreamPolicy& policy, bool guarded,
                                               MetricsRegistry& metrics, OnTransition on_transition) {
  return std::unique_ptr<Upstream>(
      new Upstream(std::make_unique<Upstream::State>(policy, guarded, metrics, std::move(on_transition))));
}

void UpstreamAccess::apply(Upstream& upstream, const decision::UpstreamPolicy& policy, bool shadow, Instant now) {
  Upstream::State& state = *upstream.state_;
  state.locked(upstream, now, [&](Upstream::State::Effects& effects) {
    // Shards know what the old policy said.
    state.sweep(true, now, effects.decided);
    if (policy.breaker != state.policy.breaker || policy.timeout != state.policy.timeout) {
      state.breaker.set_policy(policy.breaker, policy.timeout, now);
    }
    if (policy.retry_budget != state.policy.retry_budget) state.retries.set_ratio(policy.retry_budget);
    state.policy = policy;
    state.shadow = shadow;
    state.update_limit(effects, now);
  });
}

void UpstreamAccess::tick(Upstream& upstream, Instant now, double memory_pressure, int bulkhead) {
  Upstream::State& state = *upstream.state_;
  state.locked(upstream, now, [&](Upstream::State::Effects& effects) {
    state.tick_breaker(now, memory_pressure, effects);
    state.admission.expire(now, effects.decided);
    if (!state.guarded) return;
    state.bulkhead = bulkhead;
    state.update_limit(effects, now);
  });
}

void UpstreamAccess::set_directive(Upstream& upstream, std::optional<int> limit, Instant now) {
  if (limit && *limit < 1) {
    throw std::invalid_argument("upstream " + upstream.name() + ": limit " + std::to_string(*limit) + " is below 1");
  }
  Upstream::State& state = *upstream.state_;
  state.locked(upstream, now, [&](Upstream::State::Effects& effects) {
    state.directive = limit;
    state.update_limit(effects, now);
  });
}

void UpstreamAccess::force(Upstream& upstream, decision::BreakerForce force, std::string reason, Instant now) {
  Upstream::State& state = *upstream.state_;
  state.locked(upstream, now, [&](Upstream::State::Effects& effects) {
    state.sweep(false, now, effects.decided);
    state.breaker.force(force, std::move(reason), now);
  });
}

void UpstreamAccess::trip(Upstream& upstream, std::string reason, Instant now) {
  Upstream::State& state = *upstream.state_;
  state.locked(upstream, now, [&](Upstream::State::Effects& effects) {
    state.sweep(false, now, effects.decided);
    state.breaker.trip(std::move(reason), now);
  });
}

void UpstreamAccess::release_lease(Upstream& upstream, Instant now) {
  Upstream::State& state = *upstream.state_;
  state.locked(upstream, now, [&](Upstream::State::Effects& effects) {
    state.directive.reset();
    if (state.breaker.forced() != decision::BreakerForce::automatic) {
      state.breaker.force(decision::BreakerForce::automatic, "the lease ended", now);
    }
    if (state.guarded) state.update_limit(effects, now);
  });
}

decision::UpstreamPolicy UpstreamAccess::policy(const Upstream& upstream) {
  std::lock_guard guard(upstream.state_->lock);
  return upstream.state_->policy;
}

Runtime::UpstreamStats UpstreamAccess::stats(const Upstream& upstream, Instant now) {
  const Upstream::State& state = *upstream.state_;
  const auto count = [&](CallOutcome outcome) { return state.counts[static_cast<std::size_t>(outcome)]; };
  std::lock_guard guard(state.lock);
  Runtime::UpstreamStats stats{
      .name = state.name,
      .limit = state.limit_in_force(),
      .in_flight = state.in_flight,
      .waiting = state.admission.queue_length(),
      .attempts = state.attempts,
      .ok = count(CallOutcome::ok),
      .errors = count(CallOutcome::error),
      .timeouts = count(CallOutcome::timeout),
      .cancelled = count(CallOutcome::cancelled),
      .rejected = state.counts[kRejectedOutcome],
      .latency = state.latency,
      .oldest = state.breaker.oldest(now),
      .breaker = state.breaker.state(),
      .usefulness = state.breaker.usefulness(),
  };
  telemetry::read_together(state.shards.get(), [&](const Upstream::Shard& shard) {
    stats.in_flight += shard.in_flight;
    stats.attempts += shard.attempts;
    stats.ok += shard.ok;
    stats.latency += shard.latency;
    stats.oldest = std::max(stats.oldest, shard.lane.oldest(now));
  });
  return stats;
}

std::uint64_t UpstreamAccess::slow_paths(const Upstream& upstream) {
  std::lock_guard guard(upstream.state_->lock);
  return upstream.state_->slow_paths;
}

}  // namespace penstock
