#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "penstock/decision/pool_sizing.h"
#include "tests/unit/controller/loop/sample_fleet.h"

namespace penstock::controller {
namespace {

using testing::HasSubstr;

double number(const v1::Decision& decision, const std::string& name) {
  return decision.evidence().fields().at(name).number_value();
}

class OneNode : public testing::Test {
 protected:
  OneNode() { sample_.add("n1", 1000); }
  SampleFleet sample_;
};

TEST_F(OneNode, GrowsAtOnceToWhatLittlesLawAsksFor) {
  sample_.measure(150, 2.0);  // 2 x 150 x 2 + 150 x 10
  Plan plan = sample_.turn();
  EXPECT_EQ(SampleFleet::limit(plan, "n1"), 2100);
  ASSERT_EQ(plan.decisions.size(), 1u);
  const v1::Decision& decision = plan.decisions[0];
  EXPECT_EQ(decision.kind(), "pool");
  EXPECT_EQ(decision.name(), "default");
  EXPECT_EQ(decision.node(), "n1");
  EXPECT_EQ(decision.action(), "resize");
  EXPECT_EQ(decision.reason(), "demand");
  EXPECT_THAT(decision.message(), HasSubstr("limit 1000 -> 2100"));
  EXPECT_EQ(number(decision, "rate"), 150);
  EXPECT_EQ(number(decision, "latency_seconds"), 2);
  EXPECT_EQ(number(decision, "result"), 2100);
  EXPECT_EQ(number(decision, "signal_age_seconds"), 0.5);
  EXPECT_GT(decision.evidence().fields().at("steps").list_value().values_size(), 2);
  EXPECT_EQ(plan.desired[sample_.node("n1").id].pools["default"].reason(), decision.message());
  const auto observed = plan.observed.at({"shop", "default"});
  EXPECT_EQ(observed.rate, 150);
  EXPECT_EQ(observed.latency, std::chrono::seconds(2));
}

// Recorded weeks promise this rate of all nodes within the hour.
std::shared_ptr<Baselines> promise(double rate) {
  auto baselines = std::make_shared<Baselines>();
  BaselineView& view = baselines->pools[{"shop", "default"}];
  view.expected = decision::Baseline::Expected{rate / 2};
  view.rate = rate;
  return baselines;
}

TEST_F(OneNode, IsSizedForTheRushBeforeItComes) {
  sample_.measure(150, 2.0);
  sample_.fleet_.baselines = promise(300);
  Plan plan = sample_.turn();
  EXPECT_EQ(SampleFleet::limit(plan, "n1"), 2 * 300 * 2 + 300 * 10);
  const v1::Decision& decision = plan.decisions.at(0);
  EXPECT_EQ(number(decision, "expected_rate"), 300);
  EXPECT_THAT(decision.message(), HasSubstr("150.0/s arrive, 300.0/s are expected within the hour"));
  EXPECT_EQ(plan.observed.at({"shop", "default"}).rate, 150);
  // It does not shrink for a quiet hour that is expected.
  sample_.fleet_.baselines = promise(20);
  sample_.measure(1'000, 2.0);
  plan = sample_.turn();
  EXPECT_EQ(SampleFleet::limit(plan, "n1"), 2 * 1'000 * 2 + 1'000 * 10);
}

TEST_F(OneNode, HasItsShareOfTheRush) {
  sample_.add("n2", 1000);
  sample_.measure(100, 1.0);
  sample_.signals_.pools[{{"shop", "n2"}, "default"}].rate = 300;
  sample_.fleet_.baselines = promise(800);
  Plan plan = sample_.turn();
  EXPECT_EQ(SampleFleet::limit(plan, "n1"), 200 * 2 + 200 * 10);
  EXPECT_EQ(SampleFleet::limit(plan, "n2"), 600 * 2 + 600 * 10);
}

TEST_F(OneNode, ShrinksByStepsAndReachesTheTarget) {
  sample_.measure(10, 0.1);  // 2 + 100
  Plan plan = sample_.turn();
  EXPECT_EQ(SampleFleet::limit(plan, "n1"), 800);
  plan = sample_.turn();
  EXPECT_EQ(SampleFleet::limit(plan, "n1"), 640);
  for (int i = 0; i < 20; ++i) plan = sample_.turn();
  EXPECT_GE(SampleFleet::limit(plan, "n1"), 102);
  EXPECT_LE(SampleFleet::limit(plan, "n1"), 102 / (1 - decision::kBand));
}

TEST_F(OneNode, ShrinksOnceAScrapeHoweverOftenTheLoopTurns) {
  sample_.measure(10, 0.1);
  sample_.signals_.window = std::chrono::seconds(20);  // scraped every 5 s
  std::set<int> limits;
  for (int i = 0; i < 10; ++i) {
    Plan plan = sample_.turn();
    limits.insert(SampleFleet::limit(plan, "n1"));
  }
  EXPECT_EQ(limits, (std::set<int>{800, 640}));
}

TEST_F(OneNode, SmallDifferencesAreLeftAlone) {
  sample_.measure(100, 0.2);  // 1040: 4 % more
  Plan plan = sample_.turn();
  EXPECT_EQ(SampleFleet::limit(plan, "n1"), 1000);
  EXPECT_EQ(plan.decisions[0].action(), "hold");
  EXPECT_EQ(plan.decisions[0].reason(), "steady");
  EXPECT_TRUE(sample_.turn().decisions.empty());
}

TEST_F(OneNode, NoiseOfASteadyLoadIsNotLogged) {
  std::size_t decisions = 0;
  for (int i = 0; i < 700; ++i) {
    sample_.measure(150 * (1 + 0.1 * std::sin(i * 2.399)), 0.16);  // 10 % up and down, never twice the same
    const std::size_t made = sample_.turn().decisions.size();
    if (i >= 100) decisions += made;
  }
  EXPECT_LE(decisions, 2u);
}

TEST_F(OneNode, LowLoadNearMinIsNotLoggedEither) {
  std::size_t decisions = 0;
  for (int i = 0; i < 700; ++i) {
    sample_.measure(6 * (1 + 0.2 * std::sin(i * 2.399)), 0.05);  // wants 50 to 73, min is 64
    const std::size_t made = sample_.turn().decisions.size();
    if (i >= 100) decisions += made;
  }
  EXPECT_LE(decisions, 2u);
}

TEST_F(OneNode, BoundsThatAPolicyLowersHoldHoweverSmallTheDifference) {
  sample_.policy().mutable_spec()->mutable_pools(0)->set_max(990);
  sample_.measure(1000, 5.0);
  Plan plan = sample_.turn();
  EXPECT_EQ(SampleFleet::limit(plan, "n1"), 990);
}

TEST_F(OneNode, IsNeverSizedByAnIdleMoment) {
  sample_.measure(0, 0);
  sample_.signals_.pools.begin()->second.latency.reset();
  Plan plan = sample_.turn();
  EXPECT_EQ(SampleFleet::limit(plan, "n1"), 0) << "a limit that the controller did not set is left alone";
  ASSERT_EQ(plan.decisions.size(), 1u);
  EXPECT_EQ(plan.decisions[0].action(), "hold");
  EXPECT_EQ(plan.decisions[0].reason(), "no_latency");
}

TEST_F(OneNode, HoldsTheLastLimitWithoutPrometheusAndSaysSoOnce) {
  sample_.measure(150, 2.0);
  sample_.turn();
  Signals lost;
  for (const char* name : {"pool_rate", "pool_latency", "node_age"}) {
    lost.readings[name] = {SignalState::error, "connect", "refused"};
  }
  const Signals good = std::exchange(sample_.signals_, lost);
  Plan plan = sample_.turn();
  EXPECT_EQ(SampleFleet::limit(plan, "n1"), 2100);
  ASSERT_EQ(plan.decisions.size(), 1u);
  EXPECT_EQ(plan.decisions[0].action(), "hold");
  EXPECT_EQ(plan.decisions[0].reason(), "prometheus_connect");
  for (int i = 0; i < 100; ++i) {
    plan = sample_.turn();
    EXPECT_EQ(SampleFleet::limit(plan, "n1"), 2100);
    EXPECT_TRUE(plan.decisions.empty());
  }
  sample_.signals_ = good;
  plan = sample_.turn();
  ASSERT_EQ(plan.decisions.size(), 1u);
  EXPECT_EQ(plan.decisions[0].reason(), "steady");
}

TEST_F(OneNode, StaleSamplesMoveNothing) {
  sample_.measure(150, 2.0);
  sample_.turn();
  sample_.measure(15, 0.1);
  sample_.signals_.nodes[sample_.node("n1").id].age = 4.5;
  Plan plan = sample_.turn();
  EXPECT_EQ(SampleFleet::limit(plan, "n1"), 2100);
  EXPECT_EQ(plan.decisions.at(0).reason(), "stale");
}

TEST_F(OneNode, NothingJumpsWhenTheControllerStartsAnew) {
  sample_.measure(150, 2.0);
  sample_.turn();
  sample_.counters("n1").mutable_pools(0)->set_limit(2100);
  sample_.node("n1").desired = {};
  sample_.state_ = {};
  const Signals good = std::exchange(sample_.signals_, {});
  Plan plan = sample_.turn();
  EXPECT_EQ(SampleFleet::limit(plan, "n1"), 0);
  sample_.signals_ = good;
  plan = sample_.turn();
  EXPECT_EQ(SampleFleet::limit(plan, "n1"), 2100);
}

TEST_F(OneNode, NeverGoesBelowMinNorAboveMemory) {
  sample_.policy().mutable_spec()->mutable_pools(0)->set_memory_bytes(64 << 20);  // 2048 requests of 32 KiB
  sample_.measure(1000, 5.0);
  Plan plan = sample_.turn();
  EXPECT_EQ(SampleFleet::limit(plan, "n1"), 2048);
  EXPECT_EQ(plan.decisions.at(0).reason(), "memory");
  sample_.measure(0.1, 0.01);
  for (int i = 0; i < 40; ++i) plan = sample_.turn();
  EXPECT_EQ(SampleFleet::limit(plan, "n1"), 64);
}

TEST_F(OneNode, CountsWhatIsInFlightWhenItIsMoreThanRateTimesLatency) {
  sample_.measure(100, 0.5);
  sample_.counters("n1").mutable_pools(0)->set_in_flight(900);
  Plan plan = sample_.turn();
  EXPECT_EQ(SampleFleet::limit(plan, "n1"), 2800);  // 2 x 900 + 100 x 10
}

TEST_F(OneNode, DoesNotGrowOnASaturatedCpu) {
  sample_.measure(150, 2.0);
  sample_.signals_.nodes[sample_.node("n1").id].cpu = 1.99;  // of 2 threads
  Plan plan = sample_.turn();
  EXPECT_EQ(SampleFleet::limit(plan, "n1"), 1000);
}

TEST_F(OneNode, InShadowIsLoggedAndNotActuated) {
  sample_.policy().mutable_spec()->set_mode(v1::POLICY_MODE_SHADOW);
  sample_.measure(150, 2.0);
  Plan plan = sample_.turn();
  EXPECT_EQ(SampleFleet::limit(plan, "n1"), 0);
  ASSERT_EQ(plan.decisions.size(), 1u);
  EXPECT_TRUE(plan.decisions[0].shadow());
  EXPECT_EQ(number(plan.decisions[0], "result"), 2100);
  EXPECT_TRUE(sample_.turn().decisions.empty());
}

TEST_F(OneNode, WithoutAPolicyGetsNothing) {
  sample_.node("n1").policy = nullptr;
  sample_.measure(150, 2.0);
  Plan plan = sample_.turn();
  EXPECT_EQ(SampleFleet::limit(plan, "n1"), 0);
  EXPECT_TRUE(plan.decisions.empty());
}

TEST(TwoNodes, AreSizedEachByItsOwnLoad) {
  SampleFleet sample;
  sample.add("n1", 1000);
  sample.add("n2", 1000);
  sample.measure(150, 2.0);
  sample.signals_.pools[{sample.node("n2").id, "default"}].rate = 300;
  Plan plan = sample.turn();
  EXPECT_EQ(SampleFleet::limit(plan, "n1"), 2100);
  EXPECT_EQ(SampleFleet::limit(plan, "n2"), 4200);
  EXPECT_EQ(plan.observed.at({"shop", "default"}).rate, 450);
}

TEST(ShadowBeside, IsSizedByItsOwnRulesAndLeadsNobody) {
  SampleFleet sample;
  auto shadow = std::make_shared<v1::Policy>(sample.policy());
  shadow->mutable_metadata()->set_name("shop-next");
  shadow->mutable_spec()->set_mode(v1::POLICY_MODE_SHADOW);
  shadow->mutable_spec()->mutable_pools(0)->set_min(500);
  sample.add("a", 100).shadows.push_back(shadow);
  sample.measure(10, 0.1);
  Plan plan = sample.turn();
  std::map<std::string, double> results;
  for (const v1::Decision& decision : plan.decisions) {
    EXPECT_EQ(decision.shadow(), decision.policy() == "shop-next");
    EXPECT_FALSE(decision.would_change().empty());
    results[decision.policy()] = decision.evidence().fields().at("result").number_value();
  }
  EXPECT_EQ(results["shop-next"], 500);
  EXPECT_EQ(results.size(), 2u);
  EXPECT_LT(SampleFleet::limit(plan, "a"), 500);
}

}  // namespace
}  // namespace penstock::controller
