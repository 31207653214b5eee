#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "controller/fleet/fleet.h"
#include "controller/signals/signal_reader.h"
#include "penstock/decision/policy.h"
#include "penstock/v1/admin.pb.h"

// The decision of one turn: values in, a plan out. No I/O, no clock, no threads.
//
// Pools: decision::size_pool on Prometheus's rate and latency, and each node's share of the rate that recorded weeks
// promise for the next hour, where that is more. Growth takes effect at once. Shrinking goes by at most
// kShrinkStep per scrape, so that one odd scrape cannot take much away. What differs by no more than kBand and reaches
// no bound is left alone: the arrivals of a few seconds vary by that much, and each move is an entry in the log.
// Without a fresh number for rate and latency the limit in force stays: missing data never moves a decision. After a
// start of the controller a node's own limit is what is in force.
//
// Breakers: an upstream that at least half of the connected nodes, and at least two, have opened by their own judgement
// is tripped on the others. The trip ends when no node has it open any more.
namespace penstock::controller {

// Counters older than this say nothing about now; nodes stream them twice a second.
inline constexpr std::chrono::seconds kCountersFresh{3};

struct FleetSnapshot {
  std::vector<NodeState> nodes;
  std::vector<v1::Override> overrides;
  // What recorded weeks say; null: nothing.
  std::shared_ptr<const Baselines> baselines;
};

// What one turn leaves to the next.
struct LoopState {
  struct PoolMemory {
    // What the loop decided last; in SHADOW what it would have.
    std::optional<int> limit;
    std::string reason;
    decision::Instant last_shrink{};
    // Why it is held; empty: it is not.
    std::string held;
  };
  struct NodeMemory {
    double resident_floor = 0;
    double peak_in_flight = 0;
    // What one request in flight was measured to use, at the highest concurrency seen.
    std::optional<double> bytes_per_request;
  };
  std::map<PoolKey, PoolMemory> pools;
  std::map<NodeId, NodeMemory> nodes;
  // (service, upstream) that the fleet has tripped, and where.
  std::map<std::pair<std::string, std::string>, std::set<std::string>> tripped;
  // Of policies in SHADOW beside the acting ones, by name.
  std::map<std::string, std::unique_ptr<LoopState>> shadows;
  // Policies as they were converted last, by name and revision.
  std::map<std::string, std::pair<std::int64_t, decision::Policy>> policies;
};

struct Plan {
  // Complete: what is absent here is withdrawn.
  std::map<NodeId, Desired> desired;
  std::map<std::pair<std::string, std::string>, PoolObserved> observed;
  // Without id and time.
  std::vector<v1::Decision> decisions;
};

Plan decide(const FleetSnapshot& fleet, const Signals& signals, decision::Instant now, LoopState& state);

// What a policy in SHADOW would do with the nodes that another one governs: its decisions, marked as such, and nothing
// else. Pools only: breakers and tests depend on what nodes let through.
void watch(const FleetSnapshot& fleet, const Signals& signals, decision::Instant now, LoopState& state, Plan& plan);

// The two halves.
void size_pools(const FleetSnapshot& fleet, const Signals& signals, decision::Instant now, LoopState& state,
                Plan& plan);
void trip_breakers(const FleetSnapshot& fleet, decision::Instant now, LoopState& state, Plan& plan);

// The policy as decisions read it; null when it cannot be converted.
const decision::Policy* find_policy(const v1::Policy& policy, LoopState& state);

}  // namespace penstock::controller
