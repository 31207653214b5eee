#include "runtime/policy_rules.h"

#include <algorithm>
#include <cctype>
#include <chrono>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>

#include "penstock/decision/shares.h"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using decision::Duration;

// A field of the policy, by the path under which the operator knows it.
class Field {
 public:
  explicit Field(std::string path) : path_(std::move(path)) {}
  Field at(std::string_view name) const { return Field(path_ + "." + std::string(name)); }
  Field at(std::string_view name, std::size_t index) const {
    return Field(path_ + "." + std::string(name) + "[" + std::to_string(index) + "]");
  }

  void require(bool holds, const std::string& what) const {
    if (!holds) throw std::invalid_argument(path_ + ": " + what);
  }
  template <class T>
  void in_range(T value, T low, T high) const {
    require(value >= low && value <= high,
            std::to_string(value) + " is not in [" + std::to_string(low) + ", " + std::to_string(high) + "]");
  }
  void in_range(Duration value, Duration low, Duration high) const {
    require(value >= low && value <= high, text(value) + " is not in [" + text(low) + ", " + text(high) + "]");
  }

 private:
  static std::string text(Duration d) { return std::to_string(decision::seconds(d)) + "s"; }
  std::string path_;
};

void check_name(const Field& field, std::string_view name, bool upper_case) {
  const auto allowed = [&](unsigned char c) {
    return std::islower(c) || std::isdigit(c) || c == '-' || c == '_' || (upper_case && std::isupper(c));
  };
  field.require(!name.empty() && name.size() <= 63 && std::all_of(name.begin(), name.end(), allowed),
                "\"" + std::string(name) + "\" is not a name");
}

void check_pool(const Field& field, const decision::PoolPolicy& pool) {
  check_name(field.at("name"), pool.name, false);
  field.at("min").in_range(pool.min, 1, 1'000'000);
  field.at("max").in_range(pool.max, pool.min, 1'000'000);
  field.at("memory").require(pool.memory_bytes >= 1 << 20, "less than 1 MiB");
  if (pool.fallback_limit) field.at("fallbackLimit").in_range(*pool.fallback_limit, 1, pool.max);
  const Field queue = field.at("queue");
  queue.at("max").in_range(pool.queue.max, 0, 1'000'000);
  queue.at("maxWait").in_range(pool.queue.max_wait, 1ms, 60s);
  queue.at("target").in_range(pool.queue.target, 1ms, pool.queue.max_wait);
  queue.at("interval").in_range(pool.queue.interval, 1ms, 60s);
}

void check_upstream(const Field& field, const decision::UpstreamPolicy& upstream) {
  check_name(field.at("name"), upstream.name, true);
  field.at("name").require(upstream.name != "other", "\"other\" is taken");
  field.at("match.hosts").require(!upstream.hosts.empty(), "at least one host");
  field.at("limit.min").in_range(upstream.limit.min, 1, 1'000'000);
  field.at("limit.max").in_range(upstream.limit.max, upstream.limit.min, 1'000'000);
  field.at("timeout").in_range(upstream.timeout, 1ms, 1h);
  field.at("retryBudget").in_range(upstream.retry_budget, 0.0, 1.0);
  field.at("memoryShare").in_range(upstream.memory_share, 0.01, 1.0);
  const Field breaker = field.at("breaker");
  if (const auto& slow = upstream.breaker.slow_call) {
    breaker.at("slowCall.over").in_range(slow->over, 1ms, 1h);
    breaker.at("slowCall.ratio").in_range(slow->ratio, 0.01, 1.0);
  }
  if (upstream.breaker.error_ratio) breaker.at("errorRatio").in_range(*upstream.breaker.error_ratio, 0.01, 1.0);
  breaker.at("minCalls").in_range(upstream.breaker.min_calls, 1, 100'000);
  breaker.at("window").in_range(upstream.breaker.window, 1s, 10min);
  breaker.at("open").in_range(upstream.breaker.open, 100ms, 10min);
  breaker.at("probes").in_range(upstream.breaker.probes, 1, 100);
}

void check_tenants(const Field& field, const decision::TenantsPolicy& tenants) {
  field.at("named").require(tenants.named.size() < decision::kMostTenants,
                            "more than " + std::to_string(decision::kMostTenants - 1));
  field.at("others").in_range(tenants.others, 0.01, 10'000.0);
  field.at("header").require(
      std::none_of(tenants.header.begin(), tenants.header.end(),
                   [](unsigned char c) { return !(std::islower(c) || std::isdigit(c) || c == '-' || c == '_'); }),
      "\"" + tenants.header + "\" is no name of a header in lower case");
  std::set<std::string_view> names;
  for (std::size_t i = 0; i < tenants.named.size(); ++i) {
    const Field tenant = field.at("named", i);
    tenant.at("weight").in_range(tenants.named[i].weight, 0.01, 10'000.0);
    tenant.at("name").require(!tenants.named[i].name.empty() && tenants.named[i].name != "others" &&
                                  names.insert(tenants.named[i].name).second,
                              "\"" + tenants.named[i].name + "\" is empty, \"others\" or in use for another tenant");
  }
}

}  // namespace

void check_policy(const decision::Policy& policy) {
  const Field spec("spec");
  if (const auto& memory = policy.guards.memory_bytes) {
    spec.at("guards.memory").require(*memory >= 1 << 24, "less than 16 MiB");
  }
  check_tenants(spec.at("tenants"), policy.tenants);
  std::set<std::string_view> pools{"default"};
  for (std::size_t i = 0; i < policy.pools.size(); ++i) {
    const Field field = spec.at("pools", i);
    check_pool(field, policy.pools[i]);
    const bool first = std::none_of(policy.pools.begin(), policy.pools.begin() + i,
                                    [&](const auto& other) { return other.name == policy.pools[i].name; });
    field.at("name").require(first, "\"" + policy.pools[i].name + "\" is in use for another pool");
    pools.insert(policy.pools[i].name);
  }
  for (std::size_t i = 0; i < policy.routes.size(); ++i) {
    const decision::RoutePolicy& route = policy.routes[i];
    const Field field = spec.at("routes", i);
    field.at("match").require(route.match.starts_with("/"), "\"" + route.match + "\" does not begin with \"/\"");
    field.at("pool").require(pools.contains(route.pool), "no pool \"" + route.pool + "\"");
    field.at("tenant").require(
        route.tenant.empty() || decision::tenant_named(policy.tenants, route.tenant) != decision::kOthers,
        "no tenant \"" + route.tenant + "\"");
    if (route.deadline) field.at("deadline").in_range(*route.deadline, 1ms, 1h);
  }
  std::set<std::string_view> names;
  std::set<std::string_view> hosts;
  for (std::size_t i = 0; i < policy.upstreams.size(); ++i) {
    const decision::UpstreamPolicy& upstream = policy.upstreams[i];
    const Field field = spec.at("upstreams", i);
    check_upstream(field, upstream);
    field.at("name").require(names.insert(upstream.name).second,
                             "\"" + upstream.name + "\" is in use for another upstream");
    for (std::size_t k = 0; k < upstream.hosts.size(); ++k) {
      const std::string& host = upstream.hosts[k];
      const Field at = field.at("match.hosts", k);
      at.require(
          !host.empty() && std::none_of(host.begin(), host.end(),
                                        [](unsigned char c) { return std::isspace(c) || std::isupper(c) || c == '/'; }),
          "\"" + host + "\" is not a lower-case host or host:port");
      at.require(hosts.insert(host).second, "\"" + host + "\" belongs to another upstream");
    }
  }
}

}  // namespace penstock
