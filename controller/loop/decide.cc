#include "controller/loop/decide.h"

#include <algorithm>
#include <iterator>
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

void watch(const FleetSnapshot& fleet, const Signals& signals, decision::Instant now, LoopState& state, Plan& plan) {
  std::map<std::shared_ptr<const v1::Policy>, FleetSnapshot> watched;
  for (const NodeState& node : fleet.nodes) {
    for (const auto& shadow : node.shadows) {
      watched[shadow].baselines = fleet.baselines;
      NodeState& copy = watched[shadow].nodes.emplace_back(node);
      copy.policy = shadow;
      copy.desired = {};
    }
  }
  std::erase_if(state.shadows, [&](const auto& entry) {
    return std::ranges::none_of(watched,
                                [&](const auto& policy) { return policy.first->metadata().name() == entry.first; });
  });
  for (const auto& [policy, snapshot] : watched) {
    auto& memory = state.shadows[policy->metadata().name()];
    if (memory == nullptr) memory = std::make_unique<LoopState>();
    Plan imagined;
    for (const NodeState& node : snapshot.nodes) imagined.desired[node.id];
    size_pools(snapshot, signals, now, *memory, imagined);
    std::ranges::move(imagined.decisions, std::back_inserter(plan.decisions));
  }
}

Plan decide(const FleetSnapshot& fleet, const Signals& signals, decision::Instant now, LoopState& state) {
  Plan plan;
  for (const NodeState& node : fleet.nodes) plan.desired[node.id];
  size_pools(fleet, signals, now, state, plan);
  trip_breakers(fleet, now, state, plan);
  watch(fleet, signals, now, state, plan);
  return plan;
}

}  // namespace penstock::controller
