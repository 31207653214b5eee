#pragma once

#include <chrono>
#include <vector>

#include "penstock/runtime.h"
#include "penstock/v1/agent.pb.h"

namespace penstock::agent {

// What the process has done since it began, as the controller reads it.
v1::Counters to_counters(const Runtime::Stats& stats, const std::vector<Runtime::BreakerEvent>& events,
                         const std::vector<NodeDecision>& decisions);

v1::BreakerState to_proto(decision::BreakerState state);

}  // namespace penstock::agent
