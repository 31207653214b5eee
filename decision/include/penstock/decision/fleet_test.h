#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "penstock/decision/cause_test.h"
#include "penstock/decision/policy.h"
#include "penstock/decision/upstream_signals.h"

namespace penstock::decision {

// The cause test of one upstream on the counts of all nodes that call it. What each node alone reads in seconds is told
// by the sum in a fraction of that; nodes that share an upstream's capacity must be cut together, which marks on the
// wall clock achieve only for those that notice the trouble at the same time; and each of twenty thin nodes has too few
// answers to tell anything.
//
// The limit of the fleet is shared out by the nodes' share of the attempts of the last seconds; every node gets at
// least one call: what is little for a node, the policy's min, is much for twenty. While a node is told that the fleet
// leads, it does not test by itself.
//
// Not thread-safe; deterministic.
class FleetTest {
 public:
  // Of one node as it last streamed. `life` changes when its counts begin anew.
  struct Node {
    std::uint64_t id;
    std::uint64_t life;
    UpstreamCounts counts;
    Duration patience;
    BreakerState breaker;
    // The node takes it for dead.
    bool dead = false;
    bool refusing;
    double memory_pressure;
    Duration run_delay;
  };
  struct Tick {
    Instant now;
    Duration wall{};
    bool may_test = true;
    LimitPolicy limit;
    // Usual latency by what is known of better times; zero: nothing.
    Duration expected{};
  };
  // Every 100 ms while any node is in trouble; else every 500 ms suffices.
  void tick(const Tick& tick, const std::vector<Node>& nodes);

  // What the node is to be told: unset: no limit.
  std::optional<int> limit_of(std::uint64_t id) const;
  // The queue stands before that limit: newest first.
  bool tight() const;
  bool wants_test() const { return test_.wants_test(); }
  bool testing() const { return test_.testing(); }
  const CauseTest& cause_test() const { return test_; }
  const UpstreamSignals& signals() const { return signals_; }
  std::optional<CauseTest::Decision> take_decision() { return test_.take_decision(); }

 private:
  struct Known {
    std::uint64_t life = 0;
    UpstreamCounts counts;
    double attempts = 0;
    bool seen = false;
  };
  std::map<std::uint64_t, Known> known_;
  UpstreamCounts sum_;
  UpstreamSignals signals_;
  CauseTest test_;
  std::optional<Instant> ticked_;
  double all_attempts_ = 0;
};

}  // namespace penstock::decision
