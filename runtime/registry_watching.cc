#include <optional>
#include <string>
#include <utility>

#include "runtime/registry.h"
#include "runtime/upstream/upstream_access.h"

// What a policy in SHADOW beside the one in force decides and exports.
namespace penstock {

void Registry::tick_watching(const NodeTick& tick) {
  if (!watched_.load(std::memory_order_relaxed)) return;
  for (Upstream* upstream : ticker_.upstreams()) {
    for (const NodeDecision& decision : UpstreamAccess::tick_watching(*upstream, tick)) record(decision);
  }
}

void Registry::register_watching_metrics() {
  using Emit = MetricsRegistry::Emit;
  using decision::BreakerState;

  const auto of_each = [&](std::string_view name, std::string_view help, const char* type, auto tell) {
    metrics_.collect(name, help, type, [this, tell](const Emit& emit) {
      for (const Upstream* upstream : upstreams()) {
        if (const auto watching = UpstreamAccess::watching(*upstream)) tell(emit, upstream->name(), *watching);
      }
    });
  };
  using Stats = WatchingGuard::Stats;
  of_each("penstock_shadow_upstream_limit",
          "Calls that may be in flight by the policy in SHADOW beside the one in force.", "gauge",
          [](const Emit& emit, const std::string& name, const Stats& stats) {
            emit({{"upstream", name}}, stats.limit);
          });
  of_each("penstock_shadow_breaker_state", "1 for the state in which the breaker of the policy in SHADOW is.", "gauge",
          [](const Emit& emit, const std::string& name, const Stats& stats) {
            for (BreakerState state : {BreakerState::closed, BreakerState::open, BreakerState::half_open}) {
              emit({{"upstream", name}, {"state", std::string(decision::to_string(state))}},
                   stats.breaker == state ? 1 : 0);
            }
          });
  of_each("penstock_shadow_upstream_calls_total",
          "Calls that went out and that the policy in SHADOW would have refused (breaker), held back (limit), ended "
          "(timeout) or not made once more (retry).",
          "counter", [](const Emit& emit, const std::string& name, const Stats& stats) {
            for (std::size_t i = 0; i < stats.effects.size(); ++i) {
              emit({{"upstream", name}, {"effect", WatchingGuard::kEffects[i]}}, static_cast<double>(stats.effects[i]));
            }
          });
}

}  // namespace penstock
