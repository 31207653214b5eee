#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "penstock/decision/circuit_breaker.h"
#include "penstock/decision/policy.h"
#include "penstock/metrics.h"
#include "penstock/runtime.h"
#include "penstock/upstream.h"

namespace penstock {

// What the registry does with upstreams beyond their public interface. Thread-safe like it.
struct UpstreamAccess {
  // Called without any lock, on the thread on which the breaker changed.
  using OnTransition = std::function<void(const Upstream&, const decision::CircuitBreaker::Transition&)>;

  // `guarded` false: calls are only counted. `metrics` outlives the upstream.
  static std::unique_ptr<Upstream> make(const decision::UpstreamPolicy& policy, bool guarded, MetricsRegistry& metrics,
                                        OnTransition on_transition);

  // In shadow mode limits and breaker are computed and exported, and refuse nothing.
  static void apply(Upstream& upstream, const decision::UpstreamPolicy& policy, bool shadow, Instant now);
  // `bulkhead` bounds the calls in or waiting for the upstream.
  static void tick(Upstream& upstream, Instant now, double memory_pressure, int bulkhead);

  // A lease's limit; unset: the policy's.
  static void set_directive(Upstream& upstream, std::optional<int> limit, Instant now);
  static void force(Upstream& upstream, decision::BreakerForce force, std::string reason, Instant now);
  static void trip(Upstream& upstream, std::string reason, Instant now);
  static void release_lease(Upstream& upstream, Instant now);

  static decision::UpstreamPolicy policy(const Upstream& upstream);
  static Runtime::UpstreamStats stats(const Upstream& upstream, Instant now);
  // Begins and ends that took the upstream's lock, and so wrote what all threads share.
  static std::uint64_t slow_paths(const Upstream& upstream);
};

}  // namespace penstock
