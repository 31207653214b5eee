#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "controller/fleet/fleet.h"
#include "penstock/decision/fleet_calendar.h"
#include "penstock/decision/time.h"
#include "penstock/v1/admin.pb.h"

// The fleet's tests for the cause of slowness: one for each third party, on what the nodes of all services that call it
// stream. Values in, a plan out: no I/O, no clock, no threads.
//
// A third party is told by the hosts of its upstreams: upstreams of several services with the same hosts, and policies
// that want the same of the test, are one. (Without hosts an upstream is its service's own.) Nodes that share what it
// can do must be cut together, or each reads "innocent" while all of them are guilty.
//
//   - A test is looked at each kTick while the upstream is in trouble anywhere or under test, else each kCalm.
//   - The fleet leads once two nodes count and none of them holds a limit of its own test: what a node has found out is
//     not thrown away. It leads until no node is left. While it leads, nodes do not test by themselves; they obey their
//     share of its limit, which is told anew when it moves by kShareBand.
//   - Tests of upstreams that share a service take turns.
//   - Nodes that do not tell what a test needs, whose counters are older than kFresh, or that are not connected do not
//     count, and are not led: they judge by themselves.
//   - For a policy in SHADOW, and where it says observe, all is computed and logged, and nobody is led. Where it says
//     off there is no test.
namespace penstock::controller {

class CauseTests {
 public:
  static constexpr std::chrono::milliseconds kTick{100};
  static constexpr std::chrono::milliseconds kCalm{500};
  // Counters of a connected node come at least twice a second.
  static constexpr std::chrono::seconds kFresh{2};
  // From the first node of a third party to its first tick: after a start of the controller most nodes come back within
  // it, and what they counted before is history.
  static constexpr std::chrono::seconds kGather{1};
  static constexpr double kShareBand = 0.1;
  // Nodes are asked for counters each kTick while an upstream of theirs is in trouble, and so long after; but for no
  // more than so many counts of upstreams a second from all nodes together.
  static constexpr std::chrono::seconds kAttentive{5};
  static constexpr double kCountsPerSecond = 200'000;

  CauseTests();
  ~CauseTests();
  CauseTests(const CauseTests&) = delete;

  struct Plan {
    std::vector<Fleet::Leading> leads;
    std::vector<std::pair<NodeId, decision::Duration>> periods;
    // Without id and time.
    std::vector<v1::Decision> decisions;
  };
  // Each kTick. `nodes` in the order of their ids; `wall` since the Unix epoch; `history`: what is expected of
  // upstreams.
  Plan turn(const std::vector<Streaming>& nodes, decision::Instant now, decision::Duration wall,
            const BaselineViews& history = {});
  // By service and upstream.
  std::map<std::pair<std::string, std::string>, v1::CauseView> views() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace penstock::controller
