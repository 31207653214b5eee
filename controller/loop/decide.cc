#include "controller/loop/decide.h"

#include <utility>

#include "policy/convert.h"

namespace penstock::controller {

const decision::Policy* find_policy(const v1::Policy& policy, LoopState& state) {
  const std::int64_t revision = policy.metadata().revision();
  const auto found = state.policies.find(policy.metadata().name());
  if (found != state.policies.end() && found->second.first == revision) return &found->second.second;
  auto converted = policy::to_decision(policy);
  if (!converted.ok()) return nullptr;
  auto& entry = state.policies[policy.metadata().name()];
  entry = {revision, *std::move(converted)};
  return &entry.second;
}

Plan decide(const FleetSnapshot& fleet, const Signals& signals, decision::Instant now, LoopState& state) {
  Plan plan;
  for (const NodeState& node : fleet.nodes) plan.desired[node.id];
  size_pools(fleet, signals, now, state, plan);
  trip_breakers(fleet, now, state, plan);
  return plan;
}

}  // namespace penstock::controller
