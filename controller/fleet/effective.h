#pragma once

#include <map>
#include <string>
#include <tuple>
#include <utility>

#include "controller/fleet/fleet.h"
#include "penstock/v1/admin.pb.h"
#include "penstock/v1/agent.pb.h"

// What one node is told, put together from its policy, its directives, the fleet's tests and the overrides, which stand
// above all.
namespace penstock::controller {

using OverrideKey = std::tuple<std::string, std::string, std::string>;  // kind, service, name
using Overrides = std::map<OverrideKey, v1::Override>;

// Latencies that are usual at this time of the week, by service and upstream.
using Expectations = std::map<std::pair<std::string, std::string>, decision::Duration>;

// What is known of a node that bears on it; lives as long as the call.
struct Told {
  const NodeState& state;
  // By upstream.
  const std::map<std::string, Lead>& leads;
  decision::Duration counters_period;
  // What was imposed and is no longer must be taken back explicitly: pushes carry changes only.
  const Effective& before;
  const Expectations& expected;
};

// Without a version.
Effective compose(const Told& node, const Overrides& overrides);
v1::UpstreamDirective compose(const Told& node, const Overrides& overrides, const std::string& upstream);
// Apart from the version.
bool same_content(const Effective& a, const Effective& b);

}  // namespace penstock::controller
