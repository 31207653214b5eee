#include "controller/fleet/effective.h"

#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <set>

#include "penstock/decision/policy.h"
#include "policy/convert.h"

namespace penstock::controller {
namespace {

template <class Map>
bool same(const Map& a, const Map& b) {
  if (a.size() != b.size()) return false;
  for (auto i = a.begin(), j = b.begin(); i != a.end(); ++i, ++j)
    if (i->first != j->first || !google::protobuf::util::MessageDifferencer::Equals(i->second, j->second)) return false;
  return true;
}

// What a pool goes back to when an override ends and the loop has no opinion yet.
v1::PoolDirective without_directive(const v1::Policy& policy, const std::string& pool) {
  v1::PoolDirective directive;
  directive.set_pool(pool);
  directive.set_reason("the override ended");
  int limit = decision::PoolPolicy{}.max;
  for (const auto& configured : policy.spec().pools())
    if (configured.name() == pool)
      limit = configured.has_fallback_limit() ? configured.fallback_limit()
              : configured.has_max()          ? configured.max()
                                              : limit;
  directive.set_limit(limit);
  return directive;
}

}  // namespace

bool same_content(const Effective& a, const Effective& b) {
  const auto revision = [](const std::shared_ptr<const v1::Policy>& policy) {
    return policy == nullptr ? std::string() : policy->metadata().name() + "@" + policy->metadata().etag();
  };
  return revision(a.policy) == revision(b.policy) && revision(a.shadow) == revision(b.shadow) && a.drain == b.drain &&
         a.counters_period == b.counters_period && same(a.pools, b.pools) && same(a.upstreams, b.upstreams);
}

v1::UpstreamDirective compose(const Told& node, const Overrides& overrides, const std::string& upstream) {
  v1::UpstreamDirective directive;
  directive.set_breaker(v1::BREAKER_OVERRIDE_AUTO);
  if (const auto found = node.state.desired.upstreams.find(upstream); found != node.state.desired.upstreams.end())
    directive = found->second;
  directive.set_upstream(upstream);
  if (const auto found = node.leads.find(upstream); found != node.leads.end()) {
    const Lead& lead = found->second;
    directive.set_fleet_leads(true);
    directive.set_tight(lead.tight);
    if (lead.limit) directive.set_limit(*lead.limit);
    if (directive.reason().empty()) directive.set_reason(lead.reason);
  }
  if (const auto found = node.expected.find({node.state.id.service, upstream}); found != node.expected.end())
    *directive.mutable_expected_latency() = policy::to_proto(found->second);
  if (const auto found = overrides.find({"upstream", node.state.id.service, upstream}); found != overrides.end()) {
    const v1::Override& imposed = found->second;
    directive.set_breaker(imposed.value() == "open" ? v1::BREAKER_OVERRIDE_FORCE_OPEN
                                                    : v1::BREAKER_OVERRIDE_FORCE_CLOSED);
    directive.set_reason("override by " + imposed.author() + ": " + imposed.reason());
  }
  return directive;
}

Effective compose(const Told& node, const Overrides& overrides) {
  Effective result;
  result.policy = node.state.policy;
  if (result.policy == nullptr) return result;
  // No two in SHADOW claim the same nodes.
  if (!node.state.shadows.empty()) result.shadow = node.state.shadows.front();
  for (const auto& [name, directive] : node.state.desired.pools) result.pools[name] = directive;
  result.counters_period = node.counters_period;
  std::set<std::string> named;
  for (const auto& [name, directive] : node.state.desired.upstreams) named.insert(name);
  for (const auto& [name, lead] : node.leads) named.insert(name);
  // What was imposed before and is no longer must be taken back explicitly: pushes carry changes only.
  for (const auto& [name, directive] : node.before.upstreams) named.insert(name);
  const NodeId& id = node.state.id;
  for (const auto& [key, imposed] : overrides) {
    const auto& [kind, service, name] = key;
    if (service != id.service) continue;
    if (kind == "pool") {
      v1::PoolDirective& directive = result.pools[name];
      directive.set_pool(name);
      directive.set_limit(std::stoi(imposed.value()));
      directive.set_reason("override by " + imposed.author() + ": " + imposed.reason());
    } else if (kind == "upstream") {
      named.insert(name);
    } else if (kind == "node" && name == id.node) {
      result.drain = true;
    }
  }
  for (const auto& [name, directive] : node.before.pools)
    if (!result.pools.contains(name)) result.pools[name] = without_directive(*result.policy, name);
  for (const auto& upstream : result.policy->spec().upstreams())
    if (named.contains(upstream.name()) || node.expected.contains({node.state.id.service, upstream.name()}))
      result.upstreams[upstream.name()] = compose(node, overrides, upstream.name());
  std::erase_if(result.pools, [&](const auto& entry) {
    return entry.first != "default" && std::ranges::none_of(result.policy->spec().pools(), [&](const auto& pool) {
             return pool.name() == entry.first;
           });
  });
  return result;
}

}  // namespace penstock::controller
