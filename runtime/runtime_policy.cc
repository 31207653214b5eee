#include <utility>

#include "penstock/runtime.h"
#include "runtime/registry.h"
#include "runtime/runtime_state.h"
#include "runtime/telemetry/process_metrics.h"

// The half of Runtime that a policy governs.
namespace penstock {

void Runtime::apply_policy(const decision::Policy& policy) { state_->registry->apply(policy); }
void Runtime::apply_shadow(const std::optional<decision::Policy>& policy) { state_->registry->apply_shadow(policy); }
decision::Policy Runtime::policy() const { return state_->registry->policy(); }

Pool& Runtime::pool(std::string_view name) { return state_->registry->pool(name); }
Upstream* Runtime::find_upstream(std::string_view name) { return state_->registry->find_upstream(name); }
Upstream& Runtime::match_upstream(std::string_view host, std::uint16_t port) {
  return state_->registry->match_upstream(host, port);
}

void Runtime::set_pool_limit(std::string_view pool, int limit) { state_->registry->set_pool_limit(pool, limit); }
void Runtime::set_upstream_limit(std::string_view upstream, std::optional<int> limit, bool tight, bool fleet_leads) {
  state_->registry->set_upstream_limit(upstream, limit, tight, fleet_leads);
}
void Runtime::expect_latency(std::string_view upstream, Duration latency) {
  state_->registry->expect_latency(upstream, latency);
}
void Runtime::set_breaker(std::string_view upstream, decision::BreakerForce force, std::string reason) {
  state_->registry->set_breaker(upstream, force, std::move(reason));
}
void Runtime::trip_breaker(std::string_view upstream, std::string reason) {
  state_->registry->trip_breaker(upstream, std::move(reason));
}
void Runtime::release_lease() {
  state_->registry->release_lease();
  set_draining(false);
}

Runtime::Stats Runtime::stats() const {
  return {
      .pools = state_->registry->pool_stats(),
      .upstreams = state_->registry->upstream_stats(),
      .resident_bytes = telemetry::resident_bytes(),
      .cpu = telemetry::cpu_time(),
      .fibers = RuntimeAccess::fibers(*this),
      .memory_pressure = state_->registry->memory_pressure(),
      .run_delay = state_->registry->run_delay(),
  };
}

std::vector<Runtime::BreakerEvent> Runtime::take_breaker_events() { return state_->registry->take_breaker_events(); }

bool Runtime::in_trouble() const { return state_->registry->in_trouble(); }

std::vector<NodeDecision> Runtime::take_decisions() { return state_->registry->take_decisions(); }

std::vector<std::string> Runtime::explain_upstream(std::string_view name) const {
  return state_->registry->explain_upstream(name);
}

MetricsRegistry& Runtime::metrics() { return state_->metrics; }

}  // namespace penstock
