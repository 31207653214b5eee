#include "controller/service/rates.h"

#include <algorithm>

#include "policy/convert.h"

namespace penstock::controller {
namespace {

// Nodes count twice a second.
constexpr std::chrono::seconds kFresh{5};

const v1::UpstreamCounters* find(const CountersAt& counted, const std::string& upstream) {
  if (counted.counters == nullptr) return nullptr;
  for (const auto& counters : counted.counters->upstreams())
    if (counters.upstream() == upstream) return &counters;
  return nullptr;
}

double seconds(const google::protobuf::Duration& duration) { return decision::seconds(policy::to_chrono(duration)); }

}  // namespace

std::optional<UpstreamRates> upstream_rates(const NodeState& node, const std::string& upstream) {
  const auto* now = find(node.latest, upstream);
  const auto* then = find(node.earlier, upstream);
  if (now == nullptr || then == nullptr) return std::nullopt;
  // The node's own clock, so that delays on the way do not matter.
  const double span = seconds(node.latest.counters->uptime()) - seconds(node.earlier.counters->uptime());
  if (span <= 0) return std::nullopt;
  const auto rate = [&](std::uint64_t after, std::uint64_t before) {
    return after < before ? 0.0 : static_cast<double>(after - before) / span;
  };
  UpstreamRates rates;
  rates.attempts = rate(now->attempts(), then->attempts());
  rates.ok = rate(now->ok(), then->ok());
  rates.failed = rate(now->errors() + now->timeouts(), then->errors() + then->timeouts());
  rates.rejected = rate(now->rejected(), then->rejected());
  rates.answers = rate(now->ok() + now->errors(), then->ok() + then->errors());
  rates.latency_seconds = std::max(0.0, seconds(now->latency()) - seconds(then->latency())) / span;
  return rates;
}

bool speaks(const NodeState& node, decision::Instant now) {
  return node.connected && node.latest.counters != nullptr && now - node.latest.at < kFresh;
}

}  // namespace penstock::controller
