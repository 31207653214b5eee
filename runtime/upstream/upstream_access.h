#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "penstock/decision/circuit_breaker.h"
#include "penstock/decision/policy.h"
#include "penstock/decision/upstream_guard.h"
#include "penstock/metrics.h"
#include "penstock/node_decision.h"
#include "penstock/runtime.h"
#include "penstock/upstream.h"
#include "runtime/upstream/watching_guard.h"

namespace penstock {

struct NodeTick;

// What the registry does with upstreams beyond their public interface. Thread-safe like it.
struct UpstreamAccess {
  // Called without any lock, on the thread on which it was decided; may be unset.
  struct Listener {
    std::function<void(const Upstream&, const decision::CircuitBreaker::Transition&)> transition;
    std::function<void(const Upstream&, const NodeDecision&)> decision;
  };

  // `guarded` false: calls are only counted. `metrics` outlives the upstream.
  static std::unique_ptr<Upstream> make(const decision::UpstreamPolicy& policy, bool guarded, MetricsRegistry& metrics,
                                        Listener listener);

  // In shadow mode limits and breaker are computed and exported, and refuse nothing.
  static void apply(Upstream& upstream, const decision::UpstreamPolicy& policy, bool shadow, Instant now);
  // What another policy, in SHADOW, says of it beside that. Null: none does. `only`: no policy that acts names it.
  static void watch(Upstream& upstream, const std::string& policy, const decision::UpstreamPolicy* given, bool only);
  // Unset: nobody watches.
  static std::optional<WatchingGuard::Stats> watching(const Upstream& upstream);
  // After the ticker's tick, with the same.
  static std::vector<NodeDecision> tick_watching(Upstream& upstream, const NodeTick& tick);
  // Who has which share of the places when they are short: decision/shares.h.
  static void set_shares(Upstream& upstream, const std::vector<double>& weights);
  // Those of a node, every 100 ms: upstream_ticker.h.
  class Ticker;
  // One that no ticker has.
  static void tick(Upstream& upstream, const decision::UpstreamGuard::Tick& tick);

  // A lease's limit; unset: the policy's. See decision::UpstreamGuard::set_directive().
  static void set_directive(Upstream& upstream, std::optional<int> limit, Instant now, bool tight = true,
                            bool fleet_leads = false);
  // See Runtime::expect_latency().
  static void expect(Upstream& upstream, Duration latency, Instant now);
  static void force(Upstream& upstream, decision::BreakerForce force, std::string reason, Instant now);
  static void trip(Upstream& upstream, std::string reason, Instant now);
  static void release_lease(Upstream& upstream, Instant now);

  // A call that was made once more, as Upstream::try_retry() allowed, was answered.
  static void retry_succeeded(Upstream& upstream, Instant now);

  static decision::UpstreamPolicy policy(const Upstream& upstream);
  static decision::RefusalError refusal_error(const Upstream& upstream) noexcept;
  static Runtime::UpstreamStats stats(const Upstream& upstream, Instant now);
  // What holds and why, a fact a line.
  static std::vector<std::string> explain(const Upstream& upstream, Instant now);
  // Begins and ends that took the upstream's lock, and so wrote what all threads share.
  static std::uint64_t slow_paths(const Upstream& upstream);
};

}  // namespace penstock
