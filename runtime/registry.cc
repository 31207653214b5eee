#include "runtime/registry.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <mutex>
#include <stdexcept>
#include <unordered_map>
#include <utility>

#include "penstock/decision/pool_sizing.h"
#include "penstock/fiber.h"
#include "runtime/admission/pool_access.h"
#include "runtime/http/request_target.h"
#include "runtime/policy_rules.h"
#include "runtime/telemetry/memory_limit.h"
#include "runtime/upstream/upstream_access.h"

namespace penstock {

using namespace std::chrono_literals;

namespace {

constexpr std::string_view kOther = "other";

Instant steady_now() { return std::chrono::steady_clock::now(); }

std::uint64_t next_id() {
  static std::atomic<std::uint64_t> id{0};
  return ++id;
}

decision::PoolPolicy default_pool(std::string_view name) {
  decision::PoolPolicy policy;
  policy.name = name;
  return policy;
}

decision::UpstreamPolicy default_upstream(std::string_view name) {
  decision::UpstreamPolicy policy;
  policy.name = name;
  return policy;
}

// Of one that the policy in force does not name: all calls go out as they would without it.
decision::UpstreamPolicy unbound_upstream(std::string_view name) {
  decision::UpstreamPolicy policy = default_upstream(name);
  policy.limit.mode = decision::LimitMode::fixed;
  policy.limit.max = std::numeric_limits<int>::max();
  policy.limit.knee_test = decision::KneeTest::off;
  policy.breaker.usefulness = false;
  return policy;
}

const decision::UpstreamPolicy* find_named(const std::vector<decision::UpstreamPolicy>& upstreams,
                                           std::string_view name) {
  const auto found = std::find_if(upstreams.begin(), upstreams.end(), [&](const auto& of) { return of.name == name; });
  return found != upstreams.end() ? &*found : nullptr;
}

// What only the shadow wants to act observes.
decision::GuardsPolicy with_watching(decision::GuardsPolicy guards, const decision::GuardsPolicy& shadow) {
  using decision::GuardMode;
  if (shadow.cpu == GuardMode::act) guards.cpu = std::max(guards.cpu, GuardMode::observe);
  if (shadow.memory == GuardMode::act) guards.memory = std::max(guards.memory, GuardMode::observe);
  return guards;
}

// A host as the index of hosts has it: in small letters, with its port and without. Both empty: too long for a name.
class HostKey {
 public:
  HostKey(std::string_view host, std::uint16_t port) noexcept {
    if (host.size() > kLongest) return;
    char* end = std::transform(host.begin(), host.end(), text_.begin(),
                               [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    *end++ = ':';
    end = std::to_chars(end, text_.data() + text_.size(), port).ptr;
    host_ = host.size();
    size_ = static_cast<std::size_t>(end - text_.data());
  }
  std::string_view host() const noexcept { return {text_.data(), host_}; }
  std::string_view with_port() const noexcept { return {text_.data(), size_}; }

 private:
  static constexpr std::size_t kLongest = 255;
  std::array<char, kLongest + sizeof ":65535"> text_;
  std::size_t host_ = 0, size_ = 0;
};

// Where an operator or the controller will want to read an exact share of what was slower.
std::vector<double> thresholds(const decision::Policy& policy) {
  std::vector<double> edges;
  for (const auto& route : policy.routes) {
    if (route.deadline) edges.push_back(decision::seconds(*route.deadline));
  }
  for (const auto& upstream : policy.upstreams) {
    edges.push_back(decision::seconds(upstream.timeout));
    if (upstream.breaker.slow_call) edges.push_back(decision::seconds(upstream.breaker.slow_call->over));
  }
  return edges;
}

}  // namespace

struct Registry::StringHash {
  using is_transparent = void;
  std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>()(text); }
};

struct Registry::Snapshot {
  using Index = std::unordered_map<std::string, Upstream*, StringHash, std::equal_to<>>;
  struct Route {
    std::string match;
    RouteDecision decision;
  };
  decision::Policy policy;
  // Name of the policy in SHADOW beside it; empty: none.
  std::string shadow;
  std::vector<Route> routes;
  RouteDecision unmatched;
  Index by_host;
  Index by_name;
  std::unordered_map<std::string, Pool*, StringHash, std::equal_to<>> pools;
  Upstream* other;

  // Of a copy.
  void point_at_own_tenants() {
    if (unmatched.tenants != nullptr) unmatched.tenants = &policy.tenants;
    for (Route& route : routes) {
      if (route.decision.tenants != nullptr) route.decision.tenants = &policy.tenants;
    }
  }
};

Registry::Registry(MetricsRegistry& metrics)
    : metrics_(metrics), id_(next_id()), door_(metrics), group_limit_(telemetry::memory_limit()) {
  apply({});
  register_metrics();
}

Registry::~Registry() = default;

void Registry::apply(const decision::Policy& policy) {
  check_policy(policy);
  std::lock_guard serialise(apply_lock_);
  apply_both(policy);
}

void Registry::apply_shadow(const std::optional<decision::Policy>& policy) {
  if (policy) {
    check_policy(*policy);
    if (!policy->shadow) throw std::invalid_argument("mode: the policy acts; beside another one it may only watch");
  }
  std::lock_guard serialise(apply_lock_);
  if (!policy && !shadow_) return;
  shadow_ = policy;
  apply_both(this->policy());
}

void Registry::apply_both(const decision::Policy& policy) {
  const Instant now = steady_now();
  const std::vector<double> weights = decision::weights(policy.tenants);
  metrics_.add_latency_edges(thresholds(policy));

  auto snapshot = std::make_shared<Snapshot>();
  snapshot->policy = policy;
  const decision::Policy* shadow = shadow_ && !policy.shadow ? &*shadow_ : nullptr;
  if (shadow != nullptr) snapshot->shadow = shadow->name;
  watched_.store(shadow != nullptr, std::memory_order_relaxed);
  std::map<std::string, decision::PoolPolicy, std::less<>> pool_policies{{"default", default_pool("default")}};
  for (const auto& pool : policy.pools) pool_policies[pool.name] = pool;
  {
    std::lock_guard guard(lock_);
    // New ones are made with what the policy says; the others get it below.
    for (const auto& [name, given] : pool_policies) {
      auto& slot = pools_[name];
      if (!slot) slot = PoolAccess::make(given, metrics_);
    }
    const auto make_upstream = [&](const decision::UpstreamPolicy& given, bool guarded) {
      auto& slot = upstreams_[given.name];
      if (!slot) {
        slot = UpstreamAccess::make(
            given, guarded, metrics_,
            {.transition = [this](const auto& upstream, const auto& change) { record(upstream, change); },
             .decision = [this](const auto&, const NodeDecision& decision) { record(decision); }});
      }
      return slot.get();
    };
    snapshot->other = make_upstream(default_upstream(kOther), false);
    snapshot->by_name.emplace(kOther, snapshot->other);
    for (const auto& given : policy.upstreams) {
      Upstream* upstream = make_upstream(given, true);
      snapshot->by_name.emplace(given.name, upstream);
      for (const std::string& host : given.hosts) snapshot->by_host.emplace(host, upstream);
    }
    // What only the shadow names is an upstream of its own, which nothing binds.
    for (const auto& watched : shadow != nullptr ? shadow->upstreams : std::vector<decision::UpstreamPolicy>{}) {
      if (snapshot->by_name.contains(watched.name)) continue;
      Upstream* upstream = make_upstream(unbound_upstream(watched.name), true);
      snapshot->by_name.emplace(watched.name, upstream);
      for (const std::string& host : watched.hosts) {
        // With a port it would go before one without, which binds.
        if (!snapshot->by_host.contains(std::string_view(host).substr(0, host.rfind(':')))) {
          snapshot->by_host.try_emplace(host, upstream);
        }
      }
    }
    const decision::TenantsPolicy* by_header =
        snapshot->policy.tenants.header.empty() ? nullptr : &snapshot->policy.tenants;
    snapshot->unmatched = {&pool_locked("default"), decision::Priority::normal, std::nullopt, decision::kOthers,
                           by_header};
    for (const auto& route : policy.routes) {
      // A shadow policy ends no request.
      const auto deadline = policy.shadow ? std::nullopt : route.deadline;
      snapshot->routes.push_back(
          {http::canonical_path(route.match),
           {&pool_locked(route.pool), route.priority, deadline, decision::tenant_named(policy.tenants, route.tenant),
            route.tenant.empty() ? by_header : nullptr}});
    }
  }
  for (Pool* pool : pools()) {
    const auto found = pool_policies.find(pool->name());
    PoolAccess::apply(*pool, found != pool_policies.end() ? found->second : default_pool(pool->name()), policy.shadow);
    PoolAccess::set_shares(*pool, weights);
  }
  for (Upstream* upstream : upstreams()) {
    if (upstream == snapshot->other) continue;
    const auto* given = find_named(policy.upstreams, upstream->name());
    const auto* watched = shadow != nullptr ? find_named(shadow->upstreams, upstream->name()) : nullptr;
    const bool only_watched = given == nullptr && watched != nullptr;
    if (only_watched) {
      UpstreamAccess::apply(*upstream, unbound_upstream(upstream->name()), true, now);
    } else {
      UpstreamAccess::apply(*upstream, given != nullptr ? *given : default_upstream(upstream->name()), policy.shadow,
                            now);
    }
    UpstreamAccess::watch(*upstream, shadow != nullptr ? shadow->name : "", watched, only_watched);
    UpstreamAccess::set_shares(*upstream, weights);
  }
  door_.apply(shadow != nullptr ? with_watching(policy.guards, shadow->guards) : policy.guards, policy.shadow);
  door_.set_shares(weights);
  memory_limit_ = policy.guards.memory_bytes.value_or(group_limit_);
  std::lock_guard guard(lock_);
  for (const auto& [name, pool] : pools_) snapshot->pools.emplace(name, pool.get());
  publish_locked(std::move(snapshot));
}

const Registry::Snapshot& Registry::snapshot() const {
  struct Cached {
    std::uint64_t registry = 0;
    std::uint64_t version = 0;
    std::shared_ptr<const Snapshot> snapshot;
  };
  thread_local Cached cached;
  if (cached.registry != id_ || cached.version != version_.load(std::memory_order_acquire)) {
    std::shared_ptr<const Snapshot> previous;
    std::lock_guard guard(lock_);
    previous = std::exchange(cached.snapshot, snapshot_);
    cached.registry = id_;
    cached.version = version_.load(std::memory_order_relaxed);
  }
  return *cached.snapshot;
}

decision::Policy Registry::policy() const { return snapshot().policy; }

void Registry::attribute(NodeDecision& decision) const {
  const Snapshot& in_force = snapshot();
  const bool cpu = decision.reason == "cpu";
  const decision::GuardMode mode = cpu ? in_force.policy.guards.cpu : in_force.policy.guards.memory;
  if (decision.shadow && mode == decision::GuardMode::off) decision.policy = in_force.shadow;
}

RouteDecision Registry::route(std::string_view path) const {
  const Snapshot& policy = snapshot();
  std::string canonical;
  if (!http::is_plain_path(path)) path = canonical = http::canonical_path(path);
  for (const Snapshot::Route& route : policy.routes) {
    if (decision::route_matches(route.match, path)) return route.decision;
  }
  return policy.unmatched;
}

Upstream& Registry::match_upstream(std::string_view host, std::uint16_t port) const {
  const Snapshot& policy = snapshot();
  if (policy.by_host.empty()) return *policy.other;
  const HostKey key(host, port);
  auto found = policy.by_host.find(key.with_port());
  if (found == policy.by_host.end()) found = policy.by_host.find(key.host());
  return found != policy.by_host.end() ? *found->second : *policy.other;
}

Upstream* Registry::match_with_port(std::string_view host, std::uint16_t port) const {
  const Snapshot& policy = snapshot();
  const auto found = policy.by_host.find(HostKey(host, port).with_port());
  if (found == policy.by_host.end()) return nullptr;
  return find_named(policy.policy.upstreams, found->second->name()) != nullptr ? found->second : nullptr;
}

Upstream* Registry::find_upstream(std::string_view name) const {
  const Snapshot& policy = snapshot();
  const auto found = policy.by_name.find(name);
  return found != policy.by_name.end() ? found->second : nullptr;
}

Pool& Registry::pool(std::string_view name) {
  const Snapshot& policy = snapshot();
  if (const auto found = policy.pools.find(name); found != policy.pools.end()) return *found->second;
  std::lock_guard guard(lock_);
  const bool known = pools_.contains(name);
  Pool& pool = pool_locked(name);
  if (!known) {
    auto with_it = std::make_shared<Snapshot>(*snapshot_);
    with_it->point_at_own_tenants();
    with_it->pools.emplace(name, &pool);
    publish_locked(std::move(with_it));
  }
  return pool;
}

void Registry::publish_locked(std::shared_ptr<const Snapshot> snapshot) {
  snapshot_ = std::move(snapshot);
  version_.fetch_add(1, std::memory_order_release);
}

Pool& Registry::pool_locked(std::string_view name) {
  const auto found = pools_.find(name);
  if (found != pools_.end()) return *found->second;
  auto made = PoolAccess::make(default_pool(name), metrics_);
  return *pools_.emplace(std::string(name), std::move(made)).first->second;
}

Upstream& Registry::existing(std::string_view name) const {
  Upstream* upstream = find_upstream(name);
  if (upstream == nullptr || name == kOther) {
    throw std::invalid_argument("no upstream \"" + std::string(name) + "\" in the policy");
  }
  return *upstream;
}

std::vector<Pool*> Registry::pools() const {
  std::lock_guard guard(lock_);
  std::vector<Pool*> result;
  for (const auto& [name, pool] : pools_) result.push_back(pool.get());
  return result;
}

std::vector<Upstream*> Registry::upstreams() const {
  std::lock_guard guard(lock_);
  std::vector<Upstream*> result;
  for (const auto& [name, upstream] : upstreams_) result.push_back(upstream.get());
  return result;
}

void Registry::set_pool_limit(std::string_view name, int limit) {
  const std::vector<Pool*> all = pools();
  const auto found = std::find_if(all.begin(), all.end(), [&](const Pool* pool) { return pool->name() == name; });
  if (found == all.end()) throw std::invalid_argument("no pool \"" + std::string(name) + "\"");
  (*found)->set_limit(limit);
}

void Registry::set_upstream_limit(std::string_view upstream, std::optional<int> limit, bool tight, bool fleet_leads) {
  UpstreamAccess::set_directive(existing(upstream), limit, steady_now(), tight, fleet_leads);
}

void Registry::expect_latency(std::string_view upstream, Duration latency) {
  UpstreamAccess::expect(existing(upstream), latency, steady_now());
}

void Registry::set_breaker(std::string_view upstream, decision::BreakerForce force, std::string reason) {
  UpstreamAccess::force(existing(upstream), force, std::move(reason), steady_now());
}

void Registry::trip_breaker(std::string_view upstream, std::string reason) {
  UpstreamAccess::trip(existing(upstream), std::move(reason), steady_now());
}

void Registry::release_lease() {
  const Instant now = steady_now();
  for (Pool* pool : pools()) PoolAccess::release_limit(*pool);
  for (Upstream* upstream : upstreams()) UpstreamAccess::release_lease(*upstream, now);
}

std::vector<Runtime::PoolStats> Registry::pool_stats() const {
  std::vector<Runtime::PoolStats> stats;
  for (const Pool* pool : pools()) stats.push_back(PoolAccess::stats(*pool));
  return stats;
}

std::vector<Runtime::UpstreamStats> Registry::upstream_stats() const {
  const Instant now = steady_now();
  std::vector<Runtime::UpstreamStats> stats;
  for (const Upstream* upstream : upstreams()) stats.push_back(UpstreamAccess::stats(*upstream, now));
  return stats;
}

std::vector<std::string> Registry::explain_upstream(std::string_view name) const {
  for (const Upstream* upstream : upstreams()) {
    if (upstream->name() == name) return UpstreamAccess::explain(*upstream, steady_now());
  }
  throw std::invalid_argument("no upstream \"" + std::string(name) + "\"");
}

}  // namespace penstock
