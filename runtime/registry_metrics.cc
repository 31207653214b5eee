#include "runtime/admission/pool_access.h"
#include "runtime/registry.h"
#include "runtime/upstream/upstream_access.h"

namespace penstock {

void Registry::register_metrics() {
  using Emit = MetricsRegistry::Emit;
  using decision::BreakerState;

  const auto pool_gauge = [&](std::string_view name, std::string_view help, int Runtime::PoolStats::*field) {
    metrics_.collect(name, help, "gauge", [this, field](const Emit& emit) {
      for (const auto& pool : pool_stats()) emit({{"pool", pool.name}}, pool.*field);
    });
  };
  pool_gauge("penstock_pool_limit", "Requests that may be in flight.", &Runtime::PoolStats::limit);
  pool_gauge("penstock_pool_in_flight", "Requests in flight.", &Runtime::PoolStats::in_flight);
  pool_gauge("penstock_pool_queue_length", "Requests that wait for a place.", &Runtime::PoolStats::queue_length);

  metrics_.collect("penstock_pool_requests_total", "Requests by what the pool answered.", "counter",
                   [this](const Emit& emit) {
                     for (const auto& pool : pool_stats()) {
                       emit({{"pool", pool.name}, {"outcome", "admitted"}}, static_cast<double>(pool.admitted));
                       for (int i = 0; i < decision::kRejectReasons; ++i) {
                         const auto reason = static_cast<RejectReason>(i);
                         // A pool knows nothing of breakers.
                         if (reason == RejectReason::breaker) continue;
                         emit({{"pool", pool.name}, {"outcome", std::string(decision::to_string(reason))}},
                              static_cast<double>(pool.rejected[i]));
                       }
                     }
                   });

  metrics_.collect(
      "penstock_admission_slow_path_total",
      "Admissions and ends for which a thread took the lock that all share, instead of deciding by itself.", "counter",
      [this](const Emit& emit) {
        const auto tell = [&](const char* kind, const std::string& name, std::uint64_t times) {
          emit({{"kind", kind}, {"name", name}}, static_cast<double>(times));
        };
        for (const Pool* pool : pools()) tell("pool", pool->name(), PoolAccess::slow_paths(*pool));
        for (const Upstream* upstream : upstreams()) {
          tell("upstream", upstream->name(), UpstreamAccess::slow_paths(*upstream));
        }
      });

  metrics_.collect("penstock_upstream_in_flight", "Calls in flight.", "gauge", [this](const Emit& emit) {
    for (const auto& upstream : upstream_stats()) emit({{"upstream", upstream.name}}, upstream.in_flight);
  });
  metrics_.collect("penstock_upstream_oldest_seconds", "Age of the oldest call in flight; 0 without one.", "gauge",
                   [this](const Emit& emit) {
                     for (const auto& upstream : upstream_stats()) {
                       emit({{"upstream", upstream.name}}, decision::seconds(upstream.oldest));
                     }
                   });
  // Upstream "other" has neither limit nor breaker.
  metrics_.collect("penstock_upstream_limit", "Calls that may be in flight.", "gauge", [this](const Emit& emit) {
    for (const auto& upstream : upstream_stats()) {
      if (upstream.name != "other") emit({{"upstream", upstream.name}}, upstream.limit);
    }
  });
  metrics_.collect("penstock_breaker_state", "1 for the state in which the circuit breaker is.", "gauge",
                   [this](const Emit& emit) {
                     for (const auto& upstream : upstream_stats()) {
                       if (upstream.name == "other") continue;
                       for (BreakerState state : {BreakerState::closed, BreakerState::open, BreakerState::half_open}) {
                         emit({{"upstream", upstream.name}, {"state", std::string(decision::to_string(state))}},
                              upstream.breaker == state ? 1 : 0);
                       }
                     }
                   });
}

}  // namespace penstock
