#include "controller/simulate/strategies/penstock_fleet.h"

#include <algorithm>
#include <cmath>

#include "penstock/decision/pool_sizing.h"

namespace penstock::simulate {

using namespace std::chrono_literals;

namespace {

// As controller/loop has them.
constexpr Duration kPeriod = 1s;
constexpr Duration kLease = 3 * kPeriod;
constexpr double kMeasurableInFlight = 200;
constexpr double kLeastBytesPerRequest = 16.0 * 1024;
constexpr double kMostBytesPerRequest = 16.0 * 1024 * 1024;

}  // namespace

std::unique_ptr<Strategy> PenstockFleet::make(Host& host) {
  return std::make_unique<PenstockNode>(host, scenario_.policy);
}

void PenstockFleet::turn(FleetHost& fleet) {
  if (fleet.now() >= next_turn_) {
    next_turn_ = fleet.now() + kPeriod;
    const bool running = fleet.running();
    // A controller that starts knows nothing but what nodes tell.
    if (running && !was_running_) {
      nodes_.assign(nodes_.size(), {});
      tripped_.clear();
      tests_.assign(tests_.size(), {});
      read_history_ = false;
    }
    was_running_ = running;
    read_history_ |= running && fleet.prometheus() != nullptr;
    if (running && !scenario_.policy.shadow) decide(fleet);
  }
  if (was_running_) test_causes(fleet);
  deliver(fleet);
}

void PenstockFleet::test_causes(FleetHost& fleet) {
  const Instant now = fleet.now();
  lives_.resize(nodes_.size());
  std::vector<PenstockNode*> connected;
  for (std::uint32_t i = 0; i < nodes_.size(); ++i) {
    if (!fleet.connected(i)) continue;
    auto* node = static_cast<PenstockNode*>(fleet.strategy(i));
    if (lives_[i].first != node) lives_[i] = {node, lives_[i].second + 1};
    connected.push_back(node);
  }
  for (std::uint32_t upstream = 0; upstream < tests_.size(); ++upstream) {
    decision::FleetTest& test = tests_[upstream];
    if (connected.empty()) continue;
    const decision::UpstreamPolicy& policy = connected.front()->upstreams()[upstream].policy();
    // An upstream that the policy does not name is only counted.
    if (policy.name.empty()) continue;
    std::vector<decision::FleetTest::Node> streamed;
    for (PenstockNode* node : connected) {
      decision::FleetTest::Node state = node->upstreams()[upstream].streamed(0);
      state.life = lives_[state.id].second;
      streamed.push_back(state);
    }
    test.tick({.now = now,
               .wall = now.time_since_epoch(),
               .may_test = calendar_.may_test(policy.name),
               .limit = policy.limit,
               .expected = expected(upstream, now)},
              streamed);
    if (test.wants_test() || test.testing()) {
      calendar_.ask(policy.name, test.testing(), now.time_since_epoch());
    }
    while (auto decision = test.take_decision()) connected.front()->upstreams()[upstream].conclude(*decision);
    for (const decision::FleetTest::Node& node : streamed) {
      assignments_.push_back({now + scenario_.monitoring.stream_delay, static_cast<std::uint32_t>(node.id), upstream,
                              test.limit_of(node.id), test.tight()});
    }
  }
  calendar_.resolve();
}

void PenstockFleet::decide(FleetHost& fleet) {
  const Prometheus* prometheus = fleet.prometheus();
  for (std::uint32_t i = 0; i < nodes_.size(); ++i) {
    if (!fleet.connected(i)) continue;
    PenstockNode& node = static_cast<PenstockNode&>(*fleet.strategy(i));
    Memory& memory = nodes_[i];
    if (memory.life != &node) {
      memory = {};
      memory.life = &node;
      memory.limits.resize(node.pools().size());
      memory.last_shrink.resize(node.pools().size());
    }
    if (prometheus) size_pools(fleet, *prometheus, i, node);
    Push push{fleet.now() + scenario_.monitoring.stream_delay, i, memory.limits, trips(fleet, i), {}};
    for (std::uint32_t upstream = 0; upstream < tests_.size(); ++upstream)
      push.expected.push_back(expected(upstream, fleet.now()));
    pushes_.push_back(std::move(push));
  }
}

Duration PenstockFleet::expected(std::uint32_t upstream, Instant now) const {
  return read_history_ ? history_.latency(upstream, now) : Duration::zero();
}

void PenstockFleet::size_pools(FleetHost& fleet, const Prometheus& prometheus, std::uint32_t node,
                               PenstockNode& penstock) {
  const Instant now = fleet.now();
  const Exposition* latest = prometheus.latest(node, now);
  if (!latest) return;
  Memory& memory = nodes_[node];
  double in_flight = 0;
  for (const PenstockNode::Pool& pool : penstock.pools()) in_flight += pool.admission->in_flight();
  if (memory.resident_floor == 0 || latest->resident_bytes < memory.resident_floor) {
    memory.resident_floor = latest->resident_bytes;
  }
  memory.peak_in_flight = std::max(memory.peak_in_flight, in_flight);
  if (in_flight >= kMeasurableInFlight && in_flight >= 0.9 * memory.peak_in_flight) {
    memory.bytes_per_request = std::clamp((latest->resident_bytes - memory.resident_floor) / in_flight,
                                          kLeastBytesPerRequest, kMostBytesPerRequest);
  }
  const auto cpu = prometheus.rate(
      node, [](const Exposition& e) { return e.cpu_seconds; }, now);
  for (std::size_t i = 0; i < penstock.pools().size(); ++i) {
    const PenstockNode::Pool& pool = penstock.pools()[i];
    const auto rate = prometheus.rate(
        node, [&](const Exposition& e) { return e.pools[i].requests; }, now);
    const auto done = prometheus.rate(
        node, [&](const Exposition& e) { return e.pools[i].completed; }, now);
    const auto busy = prometheus.rate(
        node, [&](const Exposition& e) { return e.pools[i].busy_seconds; }, now);
    if (!rate || !done || *done <= 0) continue;
    decision::PoolObservation observed;
    observed.rate = *rate;
    observed.latency = decision::from_seconds(*busy / *done);
    if (read_history_) observed.expected_rate = history_.rate(pool.policy.name, now);
    // By its share of what comes to all.
    double all = 0;
    for (std::uint32_t other = 0; other < nodes_.size(); ++other)
      all += prometheus
                 .rate(
                     other, [&](const Exposition& e) { return e.pools[i].requests; }, now)
                 .value_or(0);
    if (observed.expected_rate) *observed.expected_rate *= *rate / std::max(all, *rate);
    observed.in_flight = pool.admission->in_flight();
    if (memory.bytes_per_request) observed.bytes_per_request = static_cast<std::int64_t>(*memory.bytes_per_request);
    if (cpu) observed.cpu = std::min(1.0, *cpu / scenario_.nodes.cores);
    const int current = memory.limits[i].value_or(pool.admission->limit());
    const decision::PoolSize size = decision::size_pool(pool.policy, observed, current);
    const int limit = decision::next_limit(current, size, now - memory.last_shrink[i] >= prometheus.window() / 4);
    if (limit < current) memory.last_shrink[i] = now;
    memory.limits[i] = limit;
  }
}

// At least half of the connected nodes, and at least two, have opened it themselves: the others are tripped, until none
// has it open any more.
std::vector<std::uint32_t> PenstockFleet::trips(FleetHost& fleet, std::uint32_t node) {
  std::vector<std::uint32_t> result;
  for (std::uint32_t upstream = 0; upstream < scenario_.upstreams.size(); ++upstream) {
    int connected = 0;
    int opened = 0;
    for (std::uint32_t i = 0; i < nodes_.size(); ++i) {
      if (!fleet.connected(i)) continue;
      ++connected;
      opened += static_cast<PenstockNode&>(*fleet.strategy(i)).upstreams()[upstream].opened_itself();
    }
    if (opened == 0) tripped_.erase(upstream);
    if (opened < 2 || 2 * opened < connected) continue;
    UpstreamGuard& guard = static_cast<PenstockNode&>(*fleet.strategy(node)).upstreams()[upstream];
    if (guard.breaker() != decision::BreakerState::closed) continue;
    if (tripped_[upstream].insert(node).second) result.push_back(upstream);
  }
  return result;
}

void PenstockFleet::deliver(FleetHost& fleet) {
  while (!assignments_.empty() && assignments_.front().due <= fleet.now()) {
    const Assignment assigned = assignments_.front();
    assignments_.pop_front();
    if (!fleet.connected(assigned.node)) continue;
    PenstockNode& node = static_cast<PenstockNode&>(*fleet.strategy(assigned.node));
    node.lease_until(fleet.now() + kLease);
    node.upstreams()[assigned.upstream].set_directive(assigned.limit, assigned.tight, true);
  }
  while (!pushes_.empty() && pushes_.front().due <= fleet.now()) {
    const Push push = std::move(pushes_.front());
    pushes_.pop_front();
    if (!fleet.connected(push.node)) continue;
    PenstockNode& node = static_cast<PenstockNode&>(*fleet.strategy(push.node));
    node.lease_until(fleet.now() + kLease);
    for (std::size_t i = 0; i < push.limits.size(); ++i) {
      if (push.limits[i]) node.impose(node.pools()[i], *push.limits[i]);
    }
    for (std::uint32_t upstream = 0; upstream < push.expected.size(); ++upstream)
      node.upstreams()[upstream].expect(push.expected[upstream]);
    for (const std::uint32_t upstream : push.tripped) node.upstreams()[upstream].trip("most nodes have opened it");
  }
}

}  // namespace penstock::simulate
