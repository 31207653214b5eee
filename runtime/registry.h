#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "penstock/decision/circuit_breaker.h"
#include "penstock/decision/policy.h"
#include "penstock/decision/request_memory.h"
#include "penstock/metrics.h"
#include "penstock/node_decision.h"
#include "penstock/pool.h"
#include "penstock/runtime.h"
#include "penstock/spin_lock.h"
#include "penstock/upstream.h"
#include "runtime/admission/node_door.h"
#include "runtime/telemetry/process_metrics.h"
#include "runtime/telemetry/shards.h"
#include "runtime/upstream/upstream_access.h"
#include "runtime/upstream/upstream_ticker.h"

namespace penstock {

// How the policy classifies a request.
struct RouteDecision {
  Pool* pool;
  decision::Priority priority;
  // From the arrival of the request.
  std::optional<Duration> deadline;
  decision::Tenant tenant = decision::kOthers;
  // Not null: the tenant is the one that the request's header names, by these, which live until the caller waits.
  const decision::TenantsPolicy* tenants = nullptr;
};

// The policy in force and what it governs: pools, upstreams, their leases. Thread-safe; members do not suspend but for
// run_ticker(). Pools and upstreams keep their address for the life of the registry.
class Registry {
 public:
  // Starts with a policy that names nothing: pool "default" with default settings, upstream "other".
  explicit Registry(MetricsRegistry& metrics);
  ~Registry();
  Registry(const Registry&) = delete;

  // The body of a fiber: tick() every 100 ms, until it is cancelled.
  void run_ticker();
  // Breakers, bulkheads, pool limits within the memory that requests are measured to use, queued requests whose time is
  // up. Not concurrently with itself.
  void tick(Instant now);

  // Throws std::invalid_argument and changes nothing if the policy is unusable.
  void apply(const decision::Policy& policy);
  decision::Policy policy() const;
  // See Runtime::apply_shadow().
  void apply_shadow(const std::optional<decision::Policy>& policy);

  // Of a request's path, without its query. On the hot path of servers: takes no lock while the policy is unchanged.
  RouteDecision route(std::string_view path) const;
  // As route(), also without allocating: "host:port" in the policy counts before "host".
  Upstream& match_upstream(std::string_view host, std::uint16_t port) const;
  // The one that the policy in force names with that port. Null: there is none.
  Upstream* match_with_port(std::string_view host, std::uint16_t port) const;
  // Another one when match_upstream() may answer otherwise: for those who keep its answer.
  std::uint64_t revision() const noexcept { return version_.load(std::memory_order_acquire); }
  Upstream* find_upstream(std::string_view name) const;
  // As route(), for pools that exist.
  Pool& pool(std::string_view name);

  // See Runtime. A pool that does not exist or an upstream that the policy does not name: std::invalid_argument.
  void set_pool_limit(std::string_view pool, int limit);
  void set_upstream_limit(std::string_view upstream, std::optional<int> limit, bool tight = true,
                          bool fleet_leads = false);
  void expect_latency(std::string_view upstream, Duration latency);
  void set_breaker(std::string_view upstream, decision::BreakerForce force, std::string reason);
  void trip_breaker(std::string_view upstream, std::string reason);
  void release_lease();

  std::vector<Runtime::PoolStats> pool_stats() const;
  std::vector<Runtime::UpstreamStats> upstream_stats() const;
  std::vector<std::string> explain_upstream(std::string_view name) const;
  std::vector<Runtime::BreakerEvent> take_breaker_events();
  std::vector<NodeDecision> take_decisions();

  NodeDoor& door() { return door_; }
  // Where the ticker reads how long fibers that were ready waited to run. Before it starts; outlives it.
  void watch_run_delay(const Histogram& run_delay) { run_delays_ = &run_delay; }
  // Of the last tick.
  double memory_pressure() const { return memory_pressure_.load(std::memory_order_relaxed); }
  bool in_trouble() const { return in_trouble_.load(std::memory_order_relaxed); }
  Duration run_delay() const { return Duration(run_delay_.load(std::memory_order_relaxed)); }

 private:
  // What readers of one policy need; immutable.
  struct Snapshot;
  struct StringHash;
  const Snapshot& snapshot() const;
  Pool& pool_locked(std::string_view name);
  void publish_locked(std::shared_ptr<const Snapshot> snapshot);
  // Serialised by apply_lock_.
  void apply_both(const decision::Policy& policy);
  Upstream& existing(std::string_view name) const;
  std::vector<Pool*> pools() const;
  std::vector<Upstream*> upstreams() const;
  void record(const Upstream& upstream, const decision::CircuitBreaker::Transition& transition);
  void record(const NodeDecision& decision);
  Duration measure_run_delay();
  bool asks_for_memory(Instant now, int in_flight) const;
  std::int64_t resident_memory(Instant now);
  void list_ticked(Instant now);
  // What a policy in SHADOW beside the one in force decides.
  void tick_watching(const NodeTick& tick);
  // A decision of the door is the shadow's where the policy in force wants no such guard.
  void attribute(NodeDecision& decision) const;
  void register_metrics();
  void register_watching_metrics();

  MetricsRegistry& metrics_;
  const std::uint64_t id_;
  // Of snapshot_; readers compare it with the one that their thread has cached. Written with every policy only, and
  // away from what is written more often.
  alignas(telemetry::kCacheLine) std::atomic<std::uint64_t> version_{0};

  // Guards what follows.
  alignas(telemetry::kCacheLine) mutable SpinLock lock_;
  std::map<std::string, std::unique_ptr<Pool>, std::less<>> pools_;
  std::map<std::string, std::unique_ptr<Upstream>, std::less<>> upstreams_;
  std::shared_ptr<const Snapshot> snapshot_;

  // Of tick().
  // Of the policy of that version.
  std::uint64_t ticked_version_ = 0;
  std::vector<Pool*> ticked_pools_;
  UpstreamAccess::Ticker ticker_;
  telemetry::ResidentMemory resident_;
  // When it was last asked for, and with how many in flight.
  std::int64_t resident_bytes_ = 0;
  Instant resident_at_{};
  int resident_in_flight_ = 0;
  decision::RequestMemory memory_;
  Instant next_give_back_{};
  const Histogram* run_delays_ = nullptr;
  std::uint64_t run_delay_count_ = 0;
  double run_delay_sum_ = 0;
  std::atomic<double> memory_pressure_{0};
  std::atomic<bool> in_trouble_{false};
  std::atomic<Duration::rep> run_delay_{0};

  NodeDoor door_;
  // Of the control group; 0: none.
  const std::int64_t group_limit_;
  // In force.
  std::atomic<std::int64_t> memory_limit_{group_limit_};

  // Serialises apply() and apply_shadow().
  SpinLock apply_lock_;
  // Guarded by apply_lock_.
  std::optional<decision::Policy> shadow_;
  // Whether one watches.
  std::atomic<bool> watched_{false};

  mutable SpinLock events_lock_;
  // The latest 1000 of each.
  std::deque<Runtime::BreakerEvent> events_;
  std::deque<NodeDecision> decisions_;
};

}  // namespace penstock
