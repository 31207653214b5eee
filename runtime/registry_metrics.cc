#include <optional>
#include <string_view>

#include "runtime/admission/pool_access.h"
#include "runtime/registry.h"
#include "runtime/upstream/upstream_access.h"

namespace penstock {

void Registry::register_metrics() {
  using Emit = MetricsRegistry::Emit;
  using decision::BreakerState;

  register_watching_metrics();
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

  // Of a policy that names tenants.
  const auto tenant_gauge = [&](std::string_view name, std::string_view help, auto value) {
    metrics_.collect(name, help, "gauge", [this, value](const Emit& emit) {
      const decision::TenantsPolicy tenants = policy().tenants;
      if (tenants.named.empty()) return;
      for (const Pool* pool : pools()) {
        const std::vector<PoolAccess::Share> shares = PoolAccess::shares(*pool);
        for (std::size_t i = 0; i < shares.size() && i <= tenants.named.size(); ++i) {
          emit({{"pool", pool->name()}, {"tenant", i == 0 ? "others" : tenants.named[i - 1].name}}, value(shares[i]));
        }
      }
    });
  };
  tenant_gauge("penstock_pool_tenant_waiting", "Requests of a tenant that wait for a place.",
               [](const PoolAccess::Share& share) { return static_cast<double>(share.waiting); });
  tenant_gauge("penstock_pool_tenant_held", "Places that a tenant was given while they were short, and holds.",
               [](const PoolAccess::Share& share) { return share.held; });

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
      if (upstream.name != "other" && !upstream.only_watched) emit({{"upstream", upstream.name}}, upstream.limit);
    }
  });
  const auto guarded = [&](std::string_view name, std::string_view help, auto value) {
    metrics_.collect(name, help, "gauge", [this, value](const Emit& emit) {
      for (const auto& upstream : upstream_stats()) {
        if (upstream.name == "other") continue;
        if (const std::optional<double> now = value(upstream)) emit({{"upstream", upstream.name}}, *now);
      }
    });
  };
  using Stats = Runtime::UpstreamStats;
  guarded("penstock_upstream_waiting", "Calls that wait for a place under the limit.",
          [](const Stats& upstream) { return std::optional<double>(upstream.waiting); });
  guarded("penstock_upstream_rate_limit",
          "Calls a second that go out while the upstream refuses more; absent while it does not.",
          [](const Stats& upstream) { return upstream.rate; });
  guarded("penstock_upstream_latency_seconds", "Latency as the test for the cause of slowness sees it.",
          [](const Stats& upstream) { return std::optional(decision::seconds(upstream.current_latency)); });
  guarded("penstock_upstream_usual_latency_seconds", "Latency when all is well.",
          [](const Stats& upstream) { return std::optional(decision::seconds(upstream.usual_latency)); });
  guarded("penstock_upstream_expected_latency_seconds",
          "Latency at this time of the week by what was recorded, as the controller tells; absent without that.",
          [](const Stats& upstream) {
            const double expected = decision::seconds(upstream.expected_latency);
            return expected > 0 ? std::optional(expected) : std::nullopt;
          });
  metrics_.collect("penstock_upstream_ok_seconds_total", "Sum of the times of calls that ended well.", "counter",
                   [this](const Emit& emit) {
                     for (const auto& upstream : upstream_stats()) {
                       emit({{"upstream", upstream.name}}, decision::seconds(upstream.ok_latency));
                     }
                   });
  guarded("penstock_upstream_usefulness",
          "Probability that a call succeeds before its deadline; absent without enough evidence.",
          [](const Stats& upstream) { return upstream.usefulness; });
  metrics_.collect("penstock_upstream_cause_state", "1 for the state of the test for the cause of slowness.", "gauge",
                   [this](const Emit& emit) {
                     using decision::CauseState;
                     for (const auto& upstream : upstream_stats()) {
                       if (upstream.name == "other") continue;
                       for (CauseState state : {CauseState::free, CauseState::freeze, CauseState::cut,
                                                CauseState::search, CauseState::track}) {
                         emit({{"upstream", upstream.name}, {"state", std::string(decision::to_string(state))}},
                              upstream.cause_state == state ? 1 : 0);
                       }
                     }
                   });
  metrics_.collect(
      "penstock_upstream_cause", "1 for the verdict on whose fault the upstream's trouble is.", "gauge",
      [this](const Emit& emit) {
        using decision::Cause;
        for (const auto& upstream : upstream_stats()) {
          if (upstream.name == "other") continue;
          for (Cause cause : {Cause::none, Cause::theirs, Cause::ours, Cause::full, Cause::dead, Cause::unidentified}) {
            emit({{"upstream", upstream.name}, {"verdict", std::string(decision::to_string(cause))}},
                 upstream.cause == cause ? 1 : 0);
          }
        }
      });
  metrics_.collect("penstock_node_memory_pressure", "Share of the memory that requests may use and that is used.",
                   "gauge", [this](const Emit& emit) { emit({}, memory_pressure()); });
  metrics_.collect("penstock_breaker_state", "1 for the state in which the circuit breaker is.", "gauge",
                   [this](const Emit& emit) {
                     for (const auto& upstream : upstream_stats()) {
                       if (upstream.name == "other" || upstream.only_watched) continue;
                       for (BreakerState state : {BreakerState::closed, BreakerState::open, BreakerState::half_open}) {
                         emit({{"upstream", upstream.name}, {"state", std::string(decision::to_string(state))}},
                              upstream.breaker == state ? 1 : 0);
                       }
                     }
                   });
}

}  // namespace penstock
