#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <set>
#include <vector>

#include "controller/simulate/strategies/penstock_history.h"
#include "controller/simulate/strategies/penstock_node.h"
#include "controller/simulate/strategy.h"

namespace penstock::simulate {

// Nodes with Penstock and their controller: each second it sizes pools from what Prometheus has scraped and trips
// breakers that most nodes have opened, as controller/loop does. What it decides holds as a lease.
class PenstockFleet final : public Ensemble {
 public:
  explicit PenstockFleet(const Scenario& scenario)
      : scenario_(scenario), history_(scenario), nodes_(scenario.nodes.count), tests_(scenario.upstreams.size()) {}

  std::unique_ptr<Strategy> make(Host& host) override;
  void turn(FleetHost& fleet) override;

 private:
  // On its way to a node.
  struct Push {
    Instant due;
    std::uint32_t node;
    // By pool.
    std::vector<std::optional<int>> limits;
    // Upstreams to trip.
    std::vector<std::uint32_t> tripped;
    // Latency to expect, by upstream.
    std::vector<Duration> expected;
  };
  struct Memory {
    // Of the node's life that this was learnt of.
    const Strategy* life = nullptr;
    std::vector<std::optional<int>> limits;
    std::vector<Instant> last_shrink;
    double resident_floor = 0;
    double peak_in_flight = 0;
    std::optional<double> bytes_per_request;
  };

  void decide(FleetHost& fleet);
  void deliver(FleetHost& fleet);
  void size_pools(FleetHost& fleet, const Prometheus& prometheus, std::uint32_t node, PenstockNode& penstock);
  // The cause tests of the fleet, on what nodes stream.
  void test_causes(FleetHost& fleet);
  std::vector<std::uint32_t> trips(FleetHost& fleet, std::uint32_t node);

  // What is usual of an upstream, by what was recorded, once it was read.
  Duration expected(std::uint32_t upstream, Instant now) const;

  const Scenario& scenario_;
  const PenstockHistory history_;
  // The controller has reached Prometheus since its start.
  bool read_history_ = false;
  std::vector<Memory> nodes_;
  std::deque<Push> pushes_;
  // By upstream: the nodes that the fleet has tripped.
  std::map<std::uint32_t, std::set<std::uint32_t>> tripped_;
  struct Assignment {
    Instant due;
    std::uint32_t node;
    std::uint32_t upstream;
    std::optional<int> limit;
    bool tight;
  };
  std::deque<Assignment> assignments_;
  // By upstream.
  std::vector<decision::FleetTest> tests_;
  decision::TestCalendar calendar_;
  // Of each node, a number for the strategy that lives there now.
  std::vector<std::pair<const Strategy*, std::uint64_t>> lives_;
  Instant next_turn_ = kStart;
  bool was_running_ = true;
};

}  // namespace penstock::simulate
