#include <gtest/gtest.h>

#include "tests/unit/decision/breaker_simulation.h"

namespace penstock::decision {
namespace {

using Load = BreakerSimulation::Load;
constexpr double kTrouble = 30;

struct BlackHoleCase {
  double rate;
  double timeout;
  double patience_from;
  double patience_to;
};

class BlackHole : public testing::TestWithParam<BlackHoleCase> {
 protected:
  Load load(std::uint64_t seed) const {
    const BlackHoleCase& c = GetParam();
    return {.rate = c.rate,
            .timeout = c.timeout,
            .patience_from = c.patience_from,
            .patience_to = c.patience_to,
            .seed = seed};
  }
};

TEST_P(BlackHole, TripsBetweenFiveAndSixAndAHalfSeconds) {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    BreakerSimulation simulation(load(seed));
    simulation.run_until(kTrouble);
    EXPECT_EQ(simulation.refused, 0) << simulation.story();
    simulation.become_black_hole();
    simulation.run_for(10);
    const auto opened = simulation.opened_after(kTrouble);
    ASSERT_TRUE(opened) << "seed " << seed;
    EXPECT_GE(*opened - kTrouble, 5) << "seed " << seed << "\n" << simulation.story();
    EXPECT_LE(*opened - kTrouble, 6.5) << "seed " << seed << "\n" << simulation.story();
    EXPECT_EQ(simulation.transitions.front().reason, "usefulness");
  }
}

class BlackHoleAfterFiveSeconds : public BlackHole {};

TEST_P(BlackHoleAfterFiveSeconds, TripsAsSoon) {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    BreakerSimulation simulation(load(seed));
    simulation.run_until(kTrouble - 20);
    simulation.become(BreakerSimulation::log_normal(5, 0.2));
    simulation.run_until(kTrouble);
    EXPECT_TRUE(simulation.transitions.empty()) << "seed " << seed << "\n" << simulation.story();
    simulation.become_black_hole();
    simulation.run_for(10);
    const auto opened = simulation.opened_after(kTrouble);
    ASSERT_TRUE(opened) << "seed " << seed;
    EXPECT_GE(*opened - kTrouble, 5) << "seed " << seed << "\n" << simulation.story();
    EXPECT_LE(*opened - kTrouble, 6.5) << "seed " << seed << "\n" << simulation.story();
  }
}

INSTANTIATE_TEST_SUITE_P(Loads, BlackHole,
                         testing::Values(BlackHoleCase{75, 10, 8, 10}, BlackHoleCase{15, 10, 8, 10},
                                         BlackHoleCase{300, 10, 8, 10}, BlackHoleCase{75, 5, 8, 10},
                                         BlackHoleCase{75, 8, 8, 10}, BlackHoleCase{75, 10, 10, 10},
                                         BlackHoleCase{15, 5, 8, 10}, BlackHoleCase{300, 5, 10, 10}));

// Those with more patience than 5 s.
INSTANTIATE_TEST_SUITE_P(Loads, BlackHoleAfterFiveSeconds,
                         testing::Values(BlackHoleCase{75, 10, 8, 10}, BlackHoleCase{15, 10, 8, 10},
                                         BlackHoleCase{300, 10, 8, 10}, BlackHoleCase{75, 8, 8, 10},
                                         BlackHoleCase{75, 10, 10, 10}));

struct Bearable {
  const char* name;
  double median;
  double sigma;
  double patience_from = 8;
};

class BearableLatency : public testing::TestWithParam<Bearable> {};

TEST_P(BearableLatency, NeverTrips) {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    BreakerSimulation simulation({.patience_from = GetParam().patience_from, .seed = seed});
    simulation.run_until(kTrouble);
    simulation.become(BreakerSimulation::log_normal(GetParam().median, GetParam().sigma));
    simulation.run_for(60);
    simulation.become(BreakerSimulation::well());
    simulation.run_for(20);
    EXPECT_TRUE(simulation.transitions.empty()) << "seed " << seed << "\n" << simulation.story();
    EXPECT_EQ(simulation.refused, 0);
  }
}

INSTANTIATE_TEST_SUITE_P(Latencies, BearableLatency,
                         testing::Values(Bearable{"2s", 2, 0.1}, Bearable{"5sNarrow", 5, 0.1},
                                         Bearable{"5sMiddle", 5, 0.2}, Bearable{"5sWide", 5, 0.3},
                                         Bearable{"8s", 8, 0.3, 10}),
                         [](const auto& info) { return info.param.name; });

TEST(UsefulnessBreaker, BearsARampToFiveSeconds) {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    BreakerSimulation simulation({.seed = seed});
    simulation.run_until(kTrouble);
    simulation.become([](double now, SeededRandom& random) {
      return BreakerSimulation::Answer{random.log_normal(0.05 + 4.95 * std::min(1.0, (now - kTrouble) / 20), 0.1)};
    });
    simulation.run_for(80);
    EXPECT_TRUE(simulation.transitions.empty()) << simulation.story();
  }
}

TEST(UsefulnessBreaker, BearsABrownOutThatSwallowsHalf) {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    BreakerSimulation simulation({.seed = seed});
    simulation.run_until(kTrouble);
    simulation.become(BreakerSimulation::hanging(0.5));
    simulation.run_for(60);
    EXPECT_TRUE(simulation.transitions.empty()) << simulation.story();
    ASSERT_TRUE(simulation.breaker().usefulness());
    EXPECT_NEAR(*simulation.breaker().usefulness(), 0.5, 0.1);
  }
}

TEST(UsefulnessBreaker, CutsOffEightSecondsThatHideForTooLongButComesBackWithTheFirstAnswers) {
  // Until the first answer at about 6.5 s nothing tells this from a black hole.
  BreakerSimulation simulation({.patience_from = 10});
  simulation.run_until(kTrouble);
  simulation.become(BreakerSimulation::log_normal(8, 0.05));
  simulation.run_for(60);
  ASSERT_GE(simulation.transitions.size(), 2u);
  EXPECT_EQ(simulation.breaker().state(), BreakerState::closed) << simulation.story();
  EXPECT_EQ(simulation.transitions.back().reason, "usefulness") << simulation.story();
  EXPECT_LT(simulation.last_refused, kTrouble + 16) << simulation.story();
}

TEST(UsefulnessBreaker, CutsOffAtOnceAndSpeaksOfDeathAfterAPatience) {
  BreakerSimulation simulation({.patience_from = 10});
  simulation.run_until(kTrouble);
  simulation.become_black_hole();
  simulation.run_until(kTrouble + 8);
  EXPECT_NE(simulation.breaker().state(), BreakerState::closed) << simulation.story();
  EXPECT_FALSE(simulation.breaker().dead());
  simulation.run_until(kTrouble + 11);
  EXPECT_TRUE(simulation.breaker().dead());
  simulation.become(BreakerSimulation::log_normal(0.05, 0.3));
  simulation.run_for(8);
  EXPECT_EQ(simulation.breaker().state(), BreakerState::closed) << simulation.story();
  EXPECT_FALSE(simulation.breaker().dead());
}

TEST(UsefulnessBreaker, WhatAnswersLateButInTimeIsNotDead) {
  BreakerSimulation simulation({.patience_from = 10});
  simulation.run_until(kTrouble);
  simulation.become(BreakerSimulation::log_normal(8, 0.05));
  for (int tick = 0; tick < 300; ++tick) {
    simulation.run_for(0.1);
    EXPECT_FALSE(simulation.breaker().dead()) << simulation.story();
  }
}

TEST(UsefulnessBreaker, TripsWithinTwoSecondsWhenAllFailAtOnce) {
  for (double rate : {75.0, 300.0}) {
    for (std::uint64_t seed = 1; seed <= 10; ++seed) {
      BreakerSimulation simulation({.rate = rate, .seed = seed});
      simulation.run_until(kTrouble);
      simulation.become(BreakerSimulation::errors(1));
      simulation.run_for(2);
      EXPECT_EQ(simulation.breaker().state(), BreakerState::open) << "rate " << rate << " seed " << seed;
    }
  }
}

TEST(UsefulnessBreaker, BearsARestartOfASecond) {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    BreakerSimulation simulation({.rate = 300, .seed = seed});
    simulation.run_until(kTrouble);
    simulation.become(BreakerSimulation::errors(1));
    simulation.run_for(1.3);
    simulation.become(BreakerSimulation::well());
    simulation.run_for(10);
    EXPECT_TRUE(simulation.transitions.empty()) << simulation.story();
  }
}

class ErrorRatio : public testing::TestWithParam<double> {};

TEST_P(ErrorRatio, DoesNotTripWhileMemoryIsPlentiful) {
  for (double rate : {15.0, 75.0, 300.0}) {
    for (std::uint64_t seed = 1; seed <= 10; ++seed) {
      BreakerSimulation simulation({.rate = rate, .seed = seed});
      simulation.run_until(kTrouble);
      simulation.become(BreakerSimulation::errors(GetParam()));
      simulation.run_for(60);
      EXPECT_TRUE(simulation.transitions.empty()) << "rate " << rate << " seed " << seed << "\n" << simulation.story();
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Ratios, ErrorRatio, testing::Values(0.5, 0.9));

TEST(UsefulnessBreaker, TripsBelowOneHalfWhenNoMemoryIsLeft) {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    BreakerSimulation simulation({.seed = seed});
    simulation.set_pressure(0.99);
    simulation.run_until(kTrouble);
    EXPECT_TRUE(simulation.transitions.empty()) << simulation.story();
    simulation.become(BreakerSimulation::errors(0.7));
    simulation.run_for(15);
    const auto opened = simulation.opened_after(kTrouble);
    ASSERT_TRUE(opened) << "seed " << seed;
    EXPECT_LT(*opened, kTrouble + 10);
    EXPECT_EQ(simulation.transitions.front().reason, "usefulness");
  }
}

TEST(UsefulnessBreaker, BearsSlownessAlsoWhenNoMemoryIsLeft) {
  BreakerSimulation simulation(Load{});
  simulation.set_pressure(1);
  simulation.run_until(kTrouble);
  simulation.become(BreakerSimulation::log_normal(5, 0.1));
  simulation.run_for(60);
  EXPECT_TRUE(simulation.transitions.empty()) << simulation.story();
}

TEST(UsefulnessBreaker, HoldsOnAHandfulOfFailures) {
  BreakerSimulation simulation({.rate = 0.5});
  simulation.become(BreakerSimulation::errors(1));
  simulation.run_until(20);
  EXPECT_TRUE(simulation.transitions.empty()) << simulation.story();
}

TEST(UsefulnessBreaker, SurvivesALull) {
  BreakerSimulation simulation(Load{});
  simulation.run_until(kTrouble);
  simulation.set_rate(0);
  simulation.run_for(60);
  EXPECT_FALSE(simulation.breaker().usefulness());
  EXPECT_EQ(simulation.breaker().oldest(simulation.instant()), Duration::zero());
  simulation.set_rate(75);
  simulation.run_for(10);
  EXPECT_TRUE(simulation.transitions.empty()) << simulation.story();
  ASSERT_TRUE(simulation.breaker().usefulness());
  EXPECT_GT(*simulation.breaker().usefulness(), 0.95);
  const double trouble = simulation.now();
  simulation.become_black_hole();
  simulation.run_for(6.5);
  EXPECT_TRUE(simulation.opened_after(trouble + 5)) << simulation.story();
}

TEST(UsefulnessBreaker, WithASlowStartAfterALullBearsFiveSeconds) {
  BreakerSimulation simulation(Load{});
  simulation.run_until(kTrouble);
  simulation.set_rate(0);
  simulation.run_for(60);
  simulation.become(BreakerSimulation::log_normal(5, 0.1));
  simulation.set_rate(75);
  simulation.run_for(60);
  EXPECT_TRUE(simulation.transitions.empty()) << simulation.story();
}

TEST(UsefulnessBreaker, IsLeftOutWhenThePolicySaysSo) {
  BreakerSimulation simulation({.policy = {.usefulness = false}});
  simulation.run_until(kTrouble);
  simulation.become_black_hole();
  simulation.run_for(30);
  EXPECT_TRUE(simulation.transitions.empty());
}

TEST(UsefulnessBreaker, LetsHardlyAnyCallIntoABlackHoleAndAllWithinFourSecondsOfItsEnd) {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    BreakerSimulation simulation({.seed = seed});
    simulation.run_until(kTrouble);
    simulation.become_black_hole();
    simulation.run_for(7);
    ASSERT_NE(simulation.breaker().state(), BreakerState::closed);
    const std::int64_t before = simulation.let_through;
    simulation.run_for(40);
    const std::int64_t probes = simulation.let_through - before;
    EXPECT_GE(probes, 40) << simulation.story();
    EXPECT_LE(probes, 75) << simulation.story();
    simulation.run_for(0.25 * static_cast<double>(seed % 9));
    const double recovered = simulation.now();
    simulation.become(BreakerSimulation::well());
    simulation.run_for(20);
    EXPECT_EQ(simulation.breaker().state(), BreakerState::closed) << simulation.story();
    EXPECT_LE(simulation.last_refused - recovered, 4) << "seed " << seed << "\n" << simulation.story();
    EXPECT_EQ(simulation.transitions.back().reason, "probes_succeeded");
  }
}

TEST(UsefulnessBreaker, ComesBackToAnUpstreamThatIsSlowButUseful) {
  for (std::uint64_t seed = 1; seed <= 10; ++seed) {
    BreakerSimulation simulation({.seed = seed});
    simulation.run_until(kTrouble);
    simulation.become_black_hole();
    simulation.run_for(20);
    ASSERT_NE(simulation.breaker().state(), BreakerState::closed);
    simulation.become(BreakerSimulation::log_normal(4, 0.2));
    simulation.run_for(30);
    EXPECT_EQ(simulation.breaker().state(), BreakerState::closed) << "seed " << seed << "\n" << simulation.story();
  }
}

TEST(UsefulnessBreaker, IsDeterministic) {
  const auto story = [] {
    BreakerSimulation simulation(Load{.seed = 7});
    simulation.run_until(kTrouble);
    simulation.become_black_hole();
    simulation.run_for(30);
    simulation.become(BreakerSimulation::well());
    simulation.run_for(10);
    return simulation.story() + std::to_string(simulation.let_through);
  };
  EXPECT_EQ(story(), story());
}

}  // namespace
}  // namespace penstock::decision
