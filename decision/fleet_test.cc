#include "penstock/decision/fleet_test.h"

#include <algorithm>
#include <cmath>

namespace penstock::decision {
namespace {

// Of the attempts that limits are shared out by: longer than a test's cut, which starves no node's attempts anyway,
// shorter than load moves between nodes.
constexpr double kShareHalfLife = 5;

}  // namespace

void FleetTest::tick(const Tick& tick, const std::vector<Node>& nodes) {
  const double kept = ticked_ ? std::exp2(-seconds(tick.now - *ticked_) / kShareHalfLife) : 1;
  for (auto& [id, known] : known_) known.seen = false;
  sum_.in_flight = sum_.waiting = 0;
  double ages = 0;
  double patience = 0;
  double weight = 0;
  double run_delay = 0;
  std::size_t cut_off = 0;
  std::size_t dead = 0;
  std::size_t refusing = 0;
  CauseContext context;
  for (const Node& node : nodes) {
    const auto [found, joined] = known_.try_emplace(node.id);
    Known& known = found->second;
    // What a node that restarted counted before is in the sum already; what one that joins later counted before it
    // joined is no traffic of now.
    if (joined && ticked_) {
      known.counts = node.counts;
    } else if (known.life != node.life) {
      known.counts = {};
    }
    known.life = node.life;
    known.seen = true;
    const auto attempts = static_cast<double>(node.counts.attempts - known.counts.attempts);
    sum_.attempts += node.counts.attempts - known.counts.attempts;
    sum_.ok += node.counts.ok - known.counts.ok;
    sum_.failed += node.counts.failed - known.counts.failed;
    sum_.refused += node.counts.refused - known.counts.refused;
    sum_.latency += node.counts.latency - known.counts.latency;
    sum_.in_flight += node.counts.in_flight;
    sum_.waiting += node.counts.waiting;
    known.counts = node.counts;
    known.attempts = known.attempts * kept + attempts;
    ages += node.counts.in_flight * seconds(node.counts.mean_age);
    patience += (known.attempts + 1) * seconds(node.patience);
    run_delay += (known.attempts + 1) * seconds(node.run_delay);
    weight += known.attempts + 1;
    cut_off += node.breaker != BreakerState::closed ? 1 : 0;
    dead += node.dead ? 1 : 0;
    refusing += node.refusing ? 1 : 0;
    context.memory_pressure = std::max(context.memory_pressure, node.memory_pressure);
  }
  ticked_ = tick.now;
  std::erase_if(known_, [](const auto& entry) { return !entry.second.seen; });
  if (nodes.empty()) return;
  all_attempts_ = 0;
  for (const auto& [id, known] : known_) all_attempts_ += known.attempts;
  sum_.mean_age = from_seconds(sum_.in_flight > 0 ? ages / sum_.in_flight : 0);
  if (tick.expected != signals_.expected_latency()) signals_.expect(tick.expected);
  signals_.tick(sum_, test_.unusual(), tick.now);

  const auto count = static_cast<int>(nodes.size());
  context.wall = tick.wall;
  context.apart = false;
  context.may_test = tick.may_test;
  context.patience = from_seconds(patience / weight);
  context.run_delay = from_seconds(run_delay / weight);
  context.breaker = 2 * cut_off > nodes.size() ? BreakerState::open : BreakerState::closed;
  context.dead = 2 * dead > nodes.size();
  context.refusing = 2 * refusing > nodes.size();
  // One for each node: what is little for a node is much for twenty.
  context.min = std::max(tick.limit.min, count);
  context.max = std::min(tick.limit.max, 1'000'000'000 / count) * count;
  context.knee_test =
      tick.limit.mode == LimitMode::adaptive ? tick.limit.knee_test : std::min(tick.limit.knee_test, KneeTest::observe);
  test_.tick(signals_, context, tick.now);
}

bool FleetTest::tight() const { return test_.holds().tight(); }

std::optional<int> FleetTest::limit_of(std::uint64_t id) const {
  if (!test_.holds().limit) return std::nullopt;
  const auto found = known_.find(id);
  const double share = found != known_.end() && all_attempts_ > 0
                           ? found->second.attempts / all_attempts_
                           : 1.0 / static_cast<double>(std::max<std::size_t>(known_.size(), 1));
  return std::max(1, static_cast<int>(std::lround(*test_.holds().limit * share)));
}

}  // namespace penstock::decision
