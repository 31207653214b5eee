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

// What a node whose upstream gets slow and answers half of what is asked of it is told, tick by tick.
class DrivenTest : public testing::Test {
 protected:
  void run_to(double until, bool losing) {
    for (; now_ < until - 1e-9; now_ += 0.1) {
      const int attempts = 10;
      const int ok = losing ? 5 : 10;
      counts_.attempts += attempts;
      counts_.ok += ok;
      in_flight_ = losing ? in_flight_ + attempts - ok : 5;
      if (test_.holds().limit) in_flight_ = std::min(in_flight_, *test_.holds().limit);
      counts_.in_flight = in_flight_;
      counts_.waiting = test_.holds().limit ? 50 : 0;
      const double latency = losing ? in_flight_ / 50.0 : 0.05;
      counts_.latency += from_seconds(ok * latency);
      counts_.mean_age = from_seconds(latency / 2);
      const Instant at = Instant{} + from_seconds(now_);
      context_.wall = from_seconds(now_);
      signals_.tick(counts_, test_.unusual(), at);
      test_.tick(signals_, context_, at);
    }
  }
  std::vector<CauseTest::Decision> decisions() {
    std::vector<CauseTest::Decision> all;
    while (auto decision = test_.take_decision()) all.push_back(std::move(*decision));
    return all;
  }

  UpstreamSignals signals_;
  UpstreamCounts counts_;
  CauseContext context_;
  CauseTest test_;
  double now_ = 0;
  int in_flight_ = 5;
};

TEST_F(DrivenTest, EveryDecisionCarriesItsNumbersAndWhatWouldChangeIt) {
  run_to(20, false);
  run_to(30, true);
  const auto all = decisions();
  ASSERT_GE(all.size(), 3u);
  EXPECT_EQ(all[0].from, CauseState::free);
  EXPECT_EQ(all[0].to, CauseState::freeze);
  EXPECT_EQ(all[1].to, CauseState::cut);
  for (const auto& decision : all) {
    EXPECT_FALSE(decision.sentence.empty());
    EXPECT_FALSE(decision.formula.empty());
    EXPECT_FALSE(decision.would_change.empty());
    EXPECT_GT(decision.evidence.w_b, Duration::zero());
  }
  EXPECT_EQ(all.back().verdict, Cause::ours);
  EXPECT_GT(all.back().confidence, 0.9);
}

TEST_F(DrivenTest, ObserveTellsAndCutsNothing) {
  context_.knee_test = KneeTest::observe;
  run_to(20, false);
  run_to(40, true);
  const auto all = decisions();
  ASSERT_EQ(all.size(), 1u);
  EXPECT_EQ(all[0].to, CauseState::free);
  EXPECT_NE(all[0].sentence.find("would be tested"), std::string::npos);
  EXPECT_FALSE(test_.holds().limit);
}

TEST_F(DrivenTest, OffDoesNothing) {
  context_.knee_test = KneeTest::off;
  run_to(20, false);
  run_to(40, true);
  EXPECT_TRUE(decisions().empty());
}

TEST_F(DrivenTest, SwitchingOffLiftsTheLimit) {
  run_to(20, false);
  run_to(30, true);
  ASSERT_TRUE(test_.holds().limit);
  context_.knee_test = KneeTest::off;
  run_to(30.1, true);
  EXPECT_FALSE(test_.holds().limit);
}

TEST_F(DrivenTest, WaitsForItsTurn) {
  context_.may_test = false;
  run_to(20, false);
  run_to(30, true);
  EXPECT_TRUE(test_.wants_test());
  EXPECT_EQ(test_.holds().state, CauseState::free);
  // Meanwhile no more pile up.
  EXPECT_TRUE(test_.holds().limit);
  EXPECT_LE(in_flight_, *test_.holds().limit);
  run_to(36, true);
  EXPECT_FALSE(test_.holds().limit);
  context_.may_test = true;
  run_to(36.2, true);
  EXPECT_NE(test_.holds().state, CauseState::free);
}

TEST_F(DrivenTest, TheNodesOwnCpuIsNoFaultOfTheUpstream) {
  context_.run_delay = std::chrono::seconds(3);
  run_to(20, false);
  run_to(24, true);
  EXPECT_EQ(test_.holds().state, CauseState::free);
}

// It answered on, less and less, until the breaker opened.
TEST_F(DrivenTest, WhatMayHaveBeenOverrunIsNotCalledDead) {
  context_.knee_test = KneeTest::observe;
  run_to(20, false);
  run_to(25, true);
  context_.breaker = BreakerState::open;
  context_.dead = true;
  run_to(40, true);
  EXPECT_EQ(test_.holds().verdict, Cause::unidentified);
}

TEST_F(DrivenTest, WhatTheBreakerCutsOffComesBackStepByStep) {
  run_to(20, false);
  context_.breaker = BreakerState::open;
  run_to(22, true);
  EXPECT_EQ(test_.holds().verdict, Cause::unidentified);
  context_.dead = true;
  run_to(25, true);
  EXPECT_EQ(test_.holds().verdict, Cause::dead);
  EXPECT_FALSE(test_.holds().limit);
  context_.breaker = BreakerState::closed;
  run_to(25.1, false);
  ASSERT_EQ(test_.holds().state, CauseState::track);
  EXPECT_GE(*test_.holds().limit, 8);
  EXPECT_LE(*test_.holds().limit, 20);
  counts_.waiting = 0;
  run_to(32, false);
}

// It answers in 50 ms, and not more than so many a second; 800 are asked of it.
class ShortageTest : public DrivenTest {
 protected:
  void tick(double capacity) {
    const int n = std::min(test_.holds().limit.value_or(300), capacity > 800 && !test_.holds().limit ? 40 : 300);
    const double throughput = std::min(n / 0.05, capacity);
    owed_ += throughput / 10;
    const auto ok = static_cast<int>(owed_);
    owed_ -= ok;
    counts_.attempts += 80;
    counts_.ok += ok;
    counts_.in_flight = n;
    counts_.waiting = test_.holds().limit ? 100 : 0;
    counts_.latency += from_seconds(ok * n / throughput);
    counts_.mean_age = from_seconds(n / throughput / 2);
    context_.wall = from_seconds(now_);
    signals_.tick(counts_, test_.unusual(), Instant{} + from_seconds(now_));
    test_.tick(signals_, context_, Instant{} + from_seconds(now_));
    now_ += 0.1;
  }

  double owed_ = 0;
};

// Throughput held when calls were cut, and comes back with them: so does it where a latency of the upstream's own ends.
TEST_F(ShortageTest, ThatEndsWhileItIsTestedIsNobodys) {
  while (now_ < 20) tick(1e6);
  while (now_ < 60 && test_.holds().state != CauseState::search) tick(300);
  ASSERT_EQ(test_.holds().state, CauseState::search);
  while (now_ < 65 && test_.holds().state == CauseState::search) tick(1e6);
  EXPECT_EQ(test_.holds().state, CauseState::free);
  EXPECT_EQ(test_.holds().verdict, Cause::unidentified) << test_.last_decision()->sentence;
}

TEST_F(ShortageTest, AStepUpThatLatencyDoesNotMindIsKept) {
  while (now_ < 20) tick(1e6);
  while (now_ < 60 && test_.holds().state != CauseState::track) tick(300);
  ASSERT_EQ(test_.holds().verdict, Cause::ours);
  while (now_ < 40) tick(300);
  const int level = *test_.holds().limit;
  while (now_ < 80 && *test_.holds().limit <= level) tick(300);
  const int step = *test_.holds().limit;
  ASSERT_GT(step, level);
  for (const double until = now_ + 2; now_ < until && test_.holds().limit;) {
    tick(1e6);
    EXPECT_GE(test_.holds().limit.value_or(1000), step) << now_ << " s";
  }
  EXPECT_GE(test_.holds().limit.value_or(1000), 2 * step);
}

// Far more is asked of it than it can serve; with n above 24 in flight it serves 480 / (1 + (n - 24) / 6) a second.
class ThrashingTest : public DrivenTest {
 protected:
  void thrash_to(double until) {
    for (; now_ < until - 1e-9; now_ += 0.1) {
      const int n = test_.holds().limit.value_or(1000);
      const double throughput = std::min(n / 0.05, 480 / (1 + std::max(n - 24, 0) / 6.0));
      owed_ += throughput / 10;
      const auto ok = static_cast<int>(owed_);
      owed_ -= ok;
      answered_ += ok;
      most_ = std::max(most_, n);
      counts_.attempts += 80;
      counts_.ok += ok;
      counts_.in_flight = n;
      counts_.waiting = 100;
      counts_.latency += from_seconds(ok * n / throughput);
      counts_.mean_age = from_seconds(n / throughput / 2);
      const Instant at = Instant{} + from_seconds(now_);
      context_.wall = from_seconds(now_);
      signals_.tick(counts_, test_.unusual(), at);
      test_.tick(signals_, context_, at);
    }
  }

  double owed_ = 0;
  int answered_ = 0;
  int most_ = 0;
};

TEST_F(ThrashingTest, WhatWasOverrunFindsItsKneeOnTheWayBackAndIsNotLedIntoThrashingAgain) {
  for (; now_ < 20 - 1e-9; now_ += 0.1) {
    counts_.attempts += 80;
    counts_.ok += 80;
    counts_.in_flight = 40;
    counts_.latency += from_seconds(80 * 0.05);
    counts_.mean_age = from_seconds(0.025);
    signals_.tick(counts_, test_.unusual(), Instant{} + from_seconds(now_));
    test_.tick(signals_, context_, Instant{} + from_seconds(now_));
  }
  context_.breaker = BreakerState::open;
  thrash_to(22);
  context_.breaker = BreakerState::closed;
  thrash_to(22.1);
  ASSERT_EQ(test_.holds().state, CauseState::track);
  EXPECT_LE(*test_.holds().limit, 12);
  most_ = 0;
  thrash_to(26);
  EXPECT_EQ(test_.holds().verdict, Cause::ours) << "the way up was the experiment";
  EXPECT_LE(most_, 60);
  answered_ = most_ = 0;
  thrash_to(86);
  EXPECT_EQ(test_.holds().verdict, Cause::ours);
  EXPECT_GE(answered_, 0.7 * 480 * 60);
  EXPECT_LE(most_, 48) << "twice the knee";
}

// Until the last answer is so long ago that nothing is left of the rate at which they came.
TEST(CauseTest, SilenceIsNoThroughputThatCameBack) {
  using namespace std::chrono_literals;
  UpstreamSignals signals;
  CauseTest test;
  UpstreamCounts counts;
  CauseContext context;
  Instant now{1h};
  const auto tick = [&] {
    now += 100ms;
    context.wall = now.time_since_epoch();
    signals.tick(counts, test.unusual(), now);
    test.tick(signals, context, now);
  };
  counts.in_flight = 12;
  counts.mean_age = 25ms;
  for (int i = 0; i < 200; ++i) {
    counts.attempts += 24;
    counts.ok += 24;
    counts.latency += 24 * 50ms;
    tick();
  }
  counts.in_flight = 20;
  for (int i = 0; i < 400; ++i) {
    counts.mean_age += 100ms;
    tick();
    while (const auto decision = test.take_decision()) {
      EXPECT_NE(decision->verdict, Cause::theirs) << decision->sentence;
      EXPECT_FALSE(std::isnan(decision->confidence));
    }
  }
}

}  // namespace
}  // namespace penstock::decision
