#pragma once

#include <optional>
#include <string>

#include "controller/fleet/fleet.h"

namespace penstock::controller {

// Per second, over Fleet::kRateWindow.
struct UpstreamRates {
  double attempts = 0;
  double ok = 0;
  // Errors and time-outs.
  double failed = 0;
  double rejected = 0;
  // Of those that were answered: how many, and their latencies added up.
  double answers = 0;
  double latency_seconds = 0;
};

// Unset until the node has counted twice.
std::optional<UpstreamRates> upstream_rates(const NodeState& node, const std::string& upstream);

// Whether the node's last counters tell of now.
bool speaks(const NodeState& node, decision::Instant now);

}  // namespace penstock::controller
