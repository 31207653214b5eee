#include "penstock/decision/fleet_test.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/unit/decision/plant.h"

// One test on the sums of many nodes.
namespace penstock::decision {
namespace {

constexpr double kBad = 20;
constexpr double kGood = 50;
bool bad(double t) { return t >= kBad && t < kGood; }

Plant::Setup fleet(int seed, int nodes) {
  Plant::Setup setup;
  setup.seed = static_cast<std::uint64_t>(seed);
  setup.nodes = nodes;
  // 150 calls a second of all together.
  setup.rate = 150.0 / nodes;
  setup.fleet = true;
  return setup;
}

TEST(FleetTest, ThinNodesFindTheirCommonKnee) {
  for (const int nodes : {2, 20}) {
    for (int seed = 1; seed <= 6; ++seed) {
      Plant::Setup setup = fleet(seed, nodes);
      setup.servers = [](double t) { return bad(t) ? 4 : 20; };
      setup.latency = [](double, SeededRandom&) { return 0.0; };
      Plant plant(setup);
      plant.run_to(kGood);
      EXPECT_LT(plant.first(Cause::ours, kBad), kBad + 12) << nodes << " nodes, seed " << seed << "\n" << plant.story();
      plant.run_to(60);
      EXPECT_EQ(plant.count(Cause::theirs), 0) << nodes << " nodes, seed " << seed << "\n" << plant.story();
    }
  }
}

TEST(FleetTest, SlownessOfTheUpstreamsOwnIsNotTakenForOurs) {
  for (const double latency : {1.0, 2.0, 5.0}) {
    for (int seed = 1; seed <= 4; ++seed) {
      Plant::Setup setup = fleet(seed, 10);
      setup.latency = [latency](double t, SeededRandom& r) { return r.log_normal(bad(t) ? latency : 0.046, 0.3); };
      Plant plant(setup);
      plant.run_to(60);
      EXPECT_EQ(plant.count(Cause::ours), 0) << latency << " s, seed " << seed << "\n" << plant.story();
    }
  }
}

// Of 294 calls a second others take 220: what we send above 74 waits, and ever longer.
TEST(FleetTest, WhatOthersFillAsWellIsFullAndHeld) {
  int with = 0;
  int without = 0;
  for (int seed = 1; seed <= 6; ++seed) {
    Plant::Setup setup = fleet(seed, 2);
    setup.patience = 5;
    setup.service = 0.2;
    setup.servers = [](double t) { return t >= kBad ? 60 : 200; };
    setup.others = [](double t) { return t >= kBad ? 220.0 : 0.0; };
    setup.latency = [](double, SeededRandom&) { return 0.0; };
    Plant plant(setup);
    plant.run_to(100);
    with += plant.answered();
    setup.act = false;
    Plant unbounded(setup);
    unbounded.run_to(100);
    without += unbounded.answered();
    EXPECT_EQ(plant.count(Cause::theirs), 0) << "seed " << seed << "\n" << plant.story();
    EXPECT_LT(plant.first(Cause::full, kBad), kBad + 16) << "seed " << seed << "\n" << plant.story();
  }
  EXPECT_GT(with, 1.1 * without);
}

// When latency jumps answers are few for a while, and by Little's law calls are slower then than any of them.
TEST(FleetTest, LatencyThatComesAndGoesIsNotTakenForFull) {
  for (int seed = 1; seed <= 6; ++seed) {
    Plant::Setup setup = fleet(seed, 8);
    setup.rate = 60;
    setup.patience = 16;
    setup.latency = [](double t, SeededRandom& r) {
      const bool slow = t >= kBad && std::fmod(t - kBad, 8.2) < 6.3;
      return r.log_normal(slow ? 0.85 : 0.18, 0.15);
    };
    Plant plant(setup);
    plant.run_to(140);
    EXPECT_EQ(plant.count(Cause::full), 0) << "seed " << seed << "\n" << plant.story();
    EXPECT_LE(plant.lost(), 0.02 * plant.answered()) << "seed " << seed << "\n" << plant.story();
  }
}

FleetTest::Node node(std::uint64_t id, std::uint64_t life, std::int64_t attempts) {
  FleetTest::Node node{.id = id,
                       .life = life,
                       .counts = {},
                       .patience = std::chrono::seconds(10),
                       .breaker = BreakerState::closed,
                       .refusing = false,
                       .memory_pressure = 0,
                       .run_delay = {}};
  node.counts.attempts = node.counts.ok = attempts;
  return node;
}

TEST(FleetTest, ANodeThatRestartsOrLeavesTakesNothingBack) {
  FleetTest test;
  auto tick = [&, t = 0](std::vector<FleetTest::Node> nodes) mutable {
    test.tick({.now = Instant{} + ++t * std::chrono::milliseconds(100), .limit = {}}, nodes);
    return test.signals().now().attempts;
  };
  EXPECT_EQ(tick({node(1, 1, 100), node(2, 1, 50)}), 150);
  EXPECT_EQ(tick({node(1, 1, 110), node(2, 2, 5)}), 165);
  EXPECT_EQ(tick({node(1, 1, 120)}), 175);
  EXPECT_EQ(tick({}), 175);
  EXPECT_FALSE(test.limit_of(1));
}

TEST(FleetTest, ANodeThatJoinsWithAHistoryIsNoSurge) {
  FleetTest test;
  auto tick = [&, t = 0](std::vector<FleetTest::Node> nodes) mutable {
    test.tick({.now = Instant{} + ++t * std::chrono::milliseconds(100), .limit = {}}, nodes);
    return test.signals().now().attempts;
  };
  EXPECT_EQ(tick({node(1, 1, 100), node(2, 1, 50)}), 150);
  EXPECT_EQ(tick({node(1, 1, 110)}), 160);
  // The stream of node 2 was lost for a while; node 3 comes from another controller.
  EXPECT_EQ(tick({node(1, 1, 120), node(2, 1, 1'000'000), node(3, 1, 5'000'000)}), 170);
  EXPECT_EQ(tick({node(1, 1, 130), node(2, 1, 1'000'007), node(3, 1, 5'000'003)}), 190);
}

}  // namespace
}  // namespace penstock::decision
