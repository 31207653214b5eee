#pragma once

#include "controller/fleet/fleet.h"
#include "penstock/v1/admin.pb.h"
#include "penstock/v1/agent.pb.h"

// What a node decided by itself, as the decision log has it. A node is not believed to keep to the contract: texts are
// shortened, and actions, verdicts and names that there are none of become "other", for they are labels of metrics.
// `policy`: the one in force on the node, which has the names; `shadow`: the one in SHADOW beside it. Null: none.
namespace penstock::controller {

// Of one Counters; what a node sends beyond that is dropped.
inline constexpr int kDecisionsOfCounters = 256;

v1::Decision to_decision(const NodeId& node, const v1::Policy* policy, const v1::BreakerTransition& transition,
                         const v1::Counters& counters);
v1::Decision to_decision(const NodeId& node, const v1::Policy* policy, const v1::Policy* shadow,
                         const v1::NodeDecision& taken);

}  // namespace penstock::controller
