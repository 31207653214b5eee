#include "penstock/decision/cause_test.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "tests/unit/decision/plant.h"

// The test against plants of which the cause is known, over seeds.
namespace penstock::decision {
namespace {

constexpr int kSeeds = 12;
// Trouble lasts from 20 s to 50 s.
constexpr double kBad = 20;
constexpr double kGood = 50;

bool bad(double t) { return t >= kBad && t < kGood; }
double well(SeededRandom& random) { return random.log_normal(0.046, 0.4); }

double goodput(Plant::Setup setup, bool act) {
  setup.act = act;
  Plant plant(std::move(setup));
  plant.run_to(70);
  return static_cast<double>(plant.answered()) / static_cast<double>(plant.answered() + plant.lost());
}

struct Slow {
  const char* name;
  Plant::Latency latency;
  // What the test may cost, of all calls from 0 to 70 s, in the mean.
  double cost;
};

class TheirFault : public testing::TestWithParam<Slow> {};

TEST_P(TheirFault, IsNotTakenForOursAndCostsLittle) {
  double with = 0;
  double without = 0;
  for (int seed = 1; seed <= kSeeds; ++seed) {
    Plant::Setup setup;
    setup.latency = GetParam().latency;
    setup.seed = static_cast<std::uint64_t>(seed);
    with += goodput(setup, true) / kSeeds;
    without += goodput(setup, false) / kSeeds;
    Plant plant(setup);
    plant.run_to(70);
    EXPECT_EQ(plant.count(Cause::ours), 0) << "seed " << seed << "\n" << plant.story();
  }
  EXPECT_GE(with, without - GetParam().cost);
}

INSTANTIATE_TEST_SUITE_P(
    Upstreams, TheirFault,
    testing::Values(
        Slow{"jump_to_1s", [](double t, SeededRandom& r) { return bad(t) ? r.log_normal(1, 0.3) : well(r); }, 0.005},
        Slow{"jump_to_2s", [](double t, SeededRandom& r) { return bad(t) ? r.log_normal(2, 0.3) : well(r); }, 0.005},
        Slow{"jump_to_5s", [](double t, SeededRandom& r) { return bad(t) ? r.log_normal(5, 0.1) : well(r); }, 0.01},
        Slow{"wide_5s", [](double t, SeededRandom& r) { return bad(t) ? r.log_normal(5, 0.5) : well(r); }, 0.03},
        Slow{"half_hang", [](double t, SeededRandom& r) { return bad(t) && r.chance(0.5) ? 1e9 : well(r); }, 0.01},
        Slow{"ramp",
             [](double t, SeededRandom& r) {
               return bad(t) ? r.log_normal(std::min(4.0, 0.046 + 4 * (t - kBad) / 20), 0.3) : well(r);
             },
             0.03},
        Slow{"flaps_4s",
             [](double t, SeededRandom& r) { return bad(t) && std::fmod(t, 4) < 2 ? r.log_normal(2, 0.3) : well(r); },
             0.01},
        Slow{"flaps_10s",
             [](double t, SeededRandom& r) { return bad(t) && std::fmod(t, 10) < 5 ? r.log_normal(2, 0.3) : well(r); },
             0.01}),
    [](const auto& info) { return std::string(info.param.name); });

Plant::Setup short_of_servers(int seed, int nodes = 1) {
  Plant::Setup setup;
  setup.seed = static_cast<std::uint64_t>(seed);
  setup.nodes = nodes;
  // 40 of the 75 calls a second that each node asks for.
  setup.servers = [nodes](double t) { return (bad(t) ? 2 : 10) * nodes; };
  setup.latency = [](double, SeededRandom&) { return 0.0; };
  return setup;
}

TEST(OurFault, FiniteCapacityIsFoundAndHeldAtTheKnee) {
  for (int seed = 1; seed <= kSeeds; ++seed) {
    Plant plant(short_of_servers(seed));
    plant.run_to(40);
    EXPECT_LT(plant.first(Cause::ours, kBad), kBad + 14) << "seed " << seed << "\n" << plant.story();
    const auto limit = plant.node().test.holds().limit;
    ASSERT_TRUE(limit) << "seed " << seed << "\n" << plant.story();
    // The knee is at 2; unbounded, it were 350 calls.
    EXPECT_LE(*limit, 40) << "seed " << seed;
    plant.run_to(60);
    EXPECT_FALSE(plant.node().test.holds().limit) << "seed " << seed << "\n" << plant.story();
  }
}

// Nodes that notice the trouble more than a mark apart read "theirs", and try again together.
TEST(OurFault, MostlyNodesCutTogetherAndComeToTheSameVerdict) {
  int agreed = 0;
  double with = 0;
  double without = 0;
  for (int seed = 1; seed <= kSeeds; ++seed) {
    Plant plant(short_of_servers(seed, 2));
    plant.run_to(kGood);
    agreed += std::max(plant.first(Cause::ours, kBad, 0), plant.first(Cause::ours, kBad, 1)) < kGood ? 1 : 0;
    with += goodput(short_of_servers(seed, 2), true) / kSeeds;
    without += goodput(short_of_servers(seed, 2), false) / kSeeds;
  }
  EXPECT_GE(agreed, kSeeds / 2);
  EXPECT_GT(with, without + 0.03);
}

TEST(OurFault, CollapseIsStoppedAndTheUpstreamRecovers) {
  double with = 0;
  double without = 0;
  for (int seed = 1; seed <= kSeeds; ++seed) {
    Plant::Setup setup;
    setup.seed = static_cast<std::uint64_t>(seed);
    // 60 a second with up to 8 in it, less the more there are.
    setup.completions = [](double t, double n) {
      const double x = std::min(n / 0.05, bad(t) ? 60.0 : 150.0);
      return bad(t) && n > 8 ? x * 8 / n : x;
    };
    with += goodput(setup, true) / kSeeds;
    without += goodput(setup, false) / kSeeds;
    Plant plant(setup);
    plant.run_to(45);
    EXPECT_LT(plant.first(Cause::ours, kBad), kBad + 20) << "seed " << seed << "\n" << plant.story();
  }
  EXPECT_GT(with, without + 0.1);
}

TEST(OurFault, WhatABurstMadeCollapseComesBack) {
  double with = 0;
  double without = 0;
  for (int seed = 1; seed <= kSeeds; ++seed) {
    for (const bool act : {true, false}) {
      Plant::Setup setup;
      setup.rate = 150;
      setup.seed = static_cast<std::uint64_t>(seed);
      setup.act = act;
      // 200 a second with up to 40 in it, less the more there are.
      setup.completions = [](double, double n) {
        const double x = std::min(n / 0.2, 200.0);
        return n > 40 ? x / (1 + 0.5 * (n - 40) / 40) : x;
      };
      Plant plant(setup);
      plant.run_to(25);
      plant.setup().rate = 600;
      plant.run_to(29);
      plant.setup().rate = 150;
      plant.run_to(70);
      (act ? with : without) +=
          static_cast<double>(plant.answered()) / (plant.answered() + plant.lost()) / static_cast<double>(kSeeds);
    }
  }
  EXPECT_GT(with, without + 0.2);
}

TEST(TheirFault, ThroughputThatComesBackByItselfNeedsNoTest) {
  int untested = 0;
  for (int seed = 1; seed <= kSeeds; ++seed) {
    Plant::Setup setup;
    setup.latency = [](double t, SeededRandom& r) { return bad(t) ? r.log_normal(5, 0.1) : well(r); };
    setup.seed = static_cast<std::uint64_t>(seed);
    setup.fleet = true;
    setup.nodes = 2;
    Plant plant(setup);
    plant.run_to(kGood);
    EXPECT_LT(plant.first(Cause::theirs, kBad), kBad + 8) << "seed " << seed << "\n" << plant.story();
    bool tested = false;
    for (const auto& event : plant.node().decisions) {
      tested |=
          event.at > kBad + 3 && (event.decision.to == CauseState::cut || event.decision.to == CauseState::freeze);
    }
    untested += tested ? 0 : 1;
  }
  EXPECT_GE(untested, kSeeds - 1);
}

TEST(NoFault, NormalTrafficAndBurstsAreNeverTouched) {
  for (int seed = 1; seed <= kSeeds; ++seed) {
    Plant::Setup setup;
    setup.seed = static_cast<std::uint64_t>(seed);
    Plant plant(setup);
    for (double t = 5; t <= 60; t += 5) {
      // Bursts of five and ten times the load, a second long.
      plant.setup().rate = 75;
      plant.run_to(t - 1);
      plant.setup().rate = static_cast<int>(t) % 10 == 0 ? 750 : 375;
      plant.run_to(t);
    }
    EXPECT_TRUE(plant.node().decisions.empty()) << "seed " << seed << "\n" << plant.story();
    EXPECT_EQ(plant.lost(), 0) << "seed " << seed;
  }
}

TEST(NoFault, FewerThanEightInFlightAreNotTested) {
  Plant::Setup setup;
  setup.rate = 2;
  setup.servers = [](double t) { return bad(t) ? 1 : 10; };
  setup.service = 0.7;
  setup.patience = 4;
  Plant plant(setup);
  plant.run_to(70);
  EXPECT_FALSE(plant.node().test.holds().limit);
  EXPECT_EQ(plant.count(Cause::ours) + plant.count(Cause::theirs), 0) << plant.story();
}

TEST(CauseTestTest, SameSeedSameStory) {
  for (int seed = 1; seed <= 3; ++seed) {
    Plant a(short_of_servers(seed));
    Plant b(short_of_servers(seed));
    a.run_to(60);
    b.run_to(60);
    EXPECT_EQ(a.story(), b.story());
    EXPECT_FALSE(a.story().empty());
  }
}

}  // namespace
}  // namespace penstock::decision
