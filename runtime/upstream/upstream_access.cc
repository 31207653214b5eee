#include "runtime/upstream/upstream_access.h"

#include <mutex>
#include <stdexcept>
#include <utility>

#include "runtime/upstream/upstream_state.h"

namespace penstock {

namespace {

Instant steady_now() { return std::chrono::steady_clock::now(); }

}  // namespace

std::unique_ptr<Upstream> UpstreamAccess::make(const decision::UpstreamPolicy& policy, bool guarded,
                                               MetricsRegistry& metrics, Listener listener) {
  return std::unique_ptr<Upstream>(
      new Upstream(std::make_unique<Upstream::State>(policy, guarded, metrics, std::move(listener))));
}

void UpstreamAccess::apply(Upstream& upstream, const decision::UpstreamPolicy& policy, bool shadow, Instant now) {
  Upstream::State& state = *upstream.state_;
  state.locked(upstream, now, [&](auto& effects) {
    // Shards know what the old policy said.
    state.sweep(true, now, effects.decided);
    state.guard.set_policy(policy, shadow, now, effects.decided);
  });
}

void UpstreamAccess::watch(Upstream& upstream, const std::string& policy, const decision::UpstreamPolicy* given,
                           bool only) {
  Upstream::State& state = *upstream.state_;
  {
    std::lock_guard guard(state.lock);
    state.only_watched = only;
  }
  if (given == nullptr) return state.set_watching(nullptr);
  if (const auto watching = state.watching()) return watching->set_policy(policy, *given, steady_now());
  state.set_watching(std::make_shared<WatchingGuard>(policy, *given));
}

std::optional<WatchingGuard::Stats> UpstreamAccess::watching(const Upstream& upstream) {
  const auto watching = upstream.state_->watching();
  if (!watching) return std::nullopt;
  return watching->stats();
}

std::vector<NodeDecision> UpstreamAccess::tick_watching(Upstream& upstream, const NodeTick& tick) {
  Upstream::State& state = *upstream.state_;
  const auto watching = state.watching();
  if (!watching) return {};
  bool tests = true;
  Duration expected{};
  int calls = 0;
  {
    std::lock_guard guard(state.lock);
    const decision::LimitPolicy& limit = state.guard.policy().limit;
    tests = state.only_watched || (!state.guard.fleet_leads() && (limit.mode != decision::LimitMode::adaptive ||
                                                                  limit.knee_test != decision::KneeTest::act));
    expected = state.guard.signals().expected_latency();
    calls = state.guard.in_flight() + state.guard.waiting();
  }
  watching->expect(expected);
  const WatchingGuard::Stats by = watching->stats();
  return watching->tick(tick.of(by.memory_share, by.min, calls), tests);
}

void UpstreamAccess::set_shares(Upstream& upstream, const std::vector<double>& weights) {
  std::lock_guard guard(upstream.state_->lock);
  upstream.state_->guard.set_shares(weights);
}

void UpstreamAccess::tick(Upstream& upstream, const decision::UpstreamGuard::Tick& tick) {
  Upstream::State& state = *upstream.state_;
  state.locked(upstream, tick.now, [&](auto& effects) { state.tick(tick, effects); });
}

void UpstreamAccess::set_directive(Upstream& upstream, std::optional<int> limit, Instant now, bool tight,
                                   bool fleet_leads) {
  if (limit && *limit < 1) {
    throw std::invalid_argument("upstream " + upstream.name() + ": limit " + std::to_string(*limit) + " is below 1");
  }
  Upstream::State& state = *upstream.state_;
  state.locked(upstream, now,
               [&](auto& effects) { state.guard.set_directive(limit, now, effects.decided, tight, fleet_leads); });
}

void UpstreamAccess::expect(Upstream& upstream, Duration latency, Instant now) {
  if (latency < Duration::zero()) {
    throw std::invalid_argument("upstream " + upstream.name() + ": the expected latency is negative");
  }
  Upstream::State& state = *upstream.state_;
  state.locked(upstream, now, [&](auto&) { state.guard.expect(latency); });
}

void UpstreamAccess::force(Upstream& upstream, decision::BreakerForce force, std::string reason, Instant now) {
  Upstream::State& state = *upstream.state_;
  state.locked(upstream, now, [&](auto& effects) {
    state.sweep(false, now, effects.decided);
    state.guard.force(force, std::move(reason), now, effects.decided);
  });
}

void UpstreamAccess::trip(Upstream& upstream, std::string reason, Instant now) {
  Upstream::State& state = *upstream.state_;
  state.locked(upstream, now, [&](auto& effects) {
    state.sweep(false, now, effects.decided);
    state.guard.trip(std::move(reason), now, effects.decided);
  });
}

void UpstreamAccess::release_lease(Upstream& upstream, Instant now) {
  Upstream::State& state = *upstream.state_;
  state.locked(upstream, now, [&](auto& effects) {
    state.sweep(false, now, effects.decided);
    state.guard.release_lease(now, effects.decided);
  });
}

void UpstreamAccess::retry_succeeded(Upstream& upstream, Instant now) {
  if (const auto watching = upstream.state_->watching()) watching->retry_succeeded(now);
  std::lock_guard guard(upstream.state_->lock);
  upstream.state_->guard.retry_succeeded(now);
}

decision::RefusalError UpstreamAccess::refusal_error(const Upstream& upstream) noexcept {
  const std::lock_guard guard(upstream.state_->lock);
  return upstream.state_->guard.policy().refusal_error;
}

decision::UpstreamPolicy UpstreamAccess::policy(const Upstream& upstream) {
  std::lock_guard guard(upstream.state_->lock);
  return upstream.state_->guard.policy();
}

Runtime::UpstreamStats UpstreamAccess::stats(const Upstream& upstream, Instant now) {
  Upstream::State& state = *upstream.state_;
  Runtime::UpstreamStats stats;
  state.locked(upstream, now, [&](auto& effects) {
    state.sweep(false, now, effects.decided);
    stats = state.stats(now);
  });
  return stats;
}

std::vector<std::string> UpstreamAccess::explain(const Upstream& upstream, Instant now) {
  Upstream::State& state = *upstream.state_;
  std::vector<std::string> lines;
  state.locked(upstream, now, [&](auto& effects) {
    state.sweep(false, now, effects.decided);
    if (!state.only_watched) lines = state.guard.explain(now);
  });
  if (const auto watching = state.watching()) {
    for (std::string& line : watching->explain(now)) lines.push_back(std::move(line));
  }
  return lines;
}

std::uint64_t UpstreamAccess::slow_paths(const Upstream& upstream) {
  std::lock_guard guard(upstream.state_->lock);
  return upstream.state_->slow_paths;
}

}  // namespace penstock
