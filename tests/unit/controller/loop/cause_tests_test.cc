#include "controller/loop/cause_tests.h"

#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <set>
#include <vector>

#include "tests/unit/controller/loop/streaming_fleet.h"

namespace penstock::controller {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

// Two nodes of "shop" with 100 calls a second each, all well for half a minute.
class TwoLedNodes : public testing::Test {
 protected:
  void SetUp() override {
    fleet_.add("a", policy_);
    fleet_.add("b", policy_);
    fleet_.run(30);
    ASSERT_EQ(fleet_.limits(), 0) << fleet_.story();
  }
  // The third party can do no more than two thirds of what is asked.
  void congest() { fleet_.capacity_ = 133; }

  std::shared_ptr<v1::Policy> policy_ = StreamingFleet::make_policy("shop");
  StreamingFleet fleet_;
};

TEST_F(TwoLedNodes, AreLedWhileAllIsWell) {
  EXPECT_TRUE(fleet_[0].lead && fleet_[1].lead);
  EXPECT_TRUE(fleet_.decisions_.empty()) << fleet_.story();
  const auto views = fleet_.tests_.views();
  ASSERT_TRUE(views.contains({"shop", "A"}));
  EXPECT_TRUE(views.at({"shop", "A"}).leads());
  EXPECT_EQ(views.at({"shop", "A"}).nodes(), 2);
  EXPECT_EQ(views.at({"shop", "A"}).state(), "free");
  EXPECT_NEAR(views.at({"shop", "A"}).throughput(), 200, 10);
}

// A whole deployment begins while the third party can do two thirds of what is asked: nodes and controller have seen
// nothing else.
class StartedInTrouble : public testing::Test {
 protected:
  void SetUp() override {
    fleet_.add("a", policy_);
    fleet_.add("b", policy_);
    fleet_.capacity_ = 133;
    // What others sent before fills it up.
    for (int i = 0; i < 2; ++i) fleet_[i].in_flight = 200;
  }
  void expect(const std::string& service, double latency, double rate) {
    BaselineView& view = fleet_.history_[{service, "A"}];
    view.expected = decision::Baseline::Expected{latency};
    view.rate = rate;
  }

  std::shared_ptr<v1::Policy> policy_ = StreamingFleet::make_policy("shop");
  StreamingFleet fleet_;
};

TEST_F(StartedInTrouble, FindsTheKneeByRecordedWeeks) {
  expect("shop", 0.2, 200);
  fleet_.run(60);
  EXPECT_FALSE(fleet_.verdicts("ours").empty()) << fleet_.story();
  EXPECT_NEAR(decision::seconds(policy::to_chrono(fleet_.tests_.views().at({"shop", "A"}).usual_latency())), 0.2, 0.05);
}

TEST_F(StartedInTrouble, TakesItForUsualWithoutThem) {
  fleet_.run(60);
  EXPECT_TRUE(fleet_.verdicts("ours").empty()) << fleet_.story();
}

TEST_F(StartedInTrouble, ServicesThatShareAThirdPartyExpectWhatTheirCallsDo) {
  fleet_.add("c", StreamingFleet::make_policy("bakery"));
  expect("shop", 0.1, 300);
  expect("bakery", 0.5, 100);
  fleet_.run(2);
  EXPECT_NEAR(decision::seconds(policy::to_chrono(fleet_.tests_.views().at({"shop", "A"}).usual_latency())), 0.2, 1e-6);
}

TEST_F(TwoLedNodes, ShareTheKneeThatTheirSumsShow) {
  fleet_[0].rate = 150;
  fleet_[1].rate = 50;
  congest();
  ASSERT_TRUE(fleet_.run_until([&] { return !fleet_.verdicts("ours").empty(); }, 30)) << fleet_.story();
  const v1::Decision verdict = fleet_.verdicts("ours").front();
  EXPECT_EQ(verdict.kind() + "/" + verdict.name() + " of " + verdict.service(), "upstream/A of shop");
  EXPECT_EQ(verdict.node(), "") << "of the whole fleet";
  EXPECT_FALSE(verdict.shadow());
  EXPECT_GT(verdict.confidence(), 0.5);
  EXPECT_FALSE(verdict.message().empty() || verdict.formula().empty() || verdict.would_change().empty());
  EXPECT_EQ(verdict.evidence().fields().at("nodes").number_value(), 2);
  fleet_.run(10);
  ASSERT_TRUE(fleet_[0].lead && fleet_[0].lead->limit && fleet_[1].lead->limit) << fleet_.story();
  EXPECT_GT(*fleet_[0].lead->limit, 1.5 * *fleet_[1].lead->limit) << "by their attempts";
  EXPECT_FALSE(fleet_[0].lead->reason.empty());
}

TEST_F(TwoLedNodes, StreamTenTimesASecondWhileInTroubleAndSomeSecondsLonger) {
  EXPECT_EQ(fleet_[0].period, milliseconds(0));
  congest();
  ASSERT_TRUE(fleet_.run_until([&] { return fleet_[0].period == milliseconds(100); }, 20)) << fleet_.story();
  EXPECT_EQ(fleet_[1].period, milliseconds(100));
  fleet_.capacity_ = 1000;
  ASSERT_TRUE(fleet_.run_until([&] { return fleet_[0].period == milliseconds(0); }, 600)) << fleet_.story();
}

TEST_F(TwoLedNodes, WhoLeavesIsNotLedAndTheOtherStaysLed) {
  fleet_[1].connected = false;
  fleet_.run(0.5);
  EXPECT_FALSE(fleet_[1].lead);
  EXPECT_TRUE(fleet_[0].lead);
  fleet_[0].connected = false;
  fleet_.run(0.5);
  EXPECT_FALSE(fleet_[0].lead);
  fleet_[0].connected = fleet_[1].connected = true;
  ASSERT_TRUE(fleet_.run_until([&] { return fleet_[0].lead && fleet_[1].lead; }, 5));
}

TEST_F(TwoLedNodes, WhoseCountersAreOldIsNotLed) {
  fleet_[1].silent = true;
  fleet_.run(1.5);
  EXPECT_TRUE(fleet_[1].lead);
  fleet_.run(1.5);
  EXPECT_FALSE(fleet_[1].lead);
  EXPECT_TRUE(fleet_[0].lead);
}

TEST_F(TwoLedNodes, ChangedPolicyIsTakenUp) {
  auto changed = StreamingFleet::make_policy("shop");
  changed->mutable_spec()->mutable_upstreams(0)->mutable_limit()->set_knee_test(v1::KNEE_TEST_OFF);
  fleet_[0].policy = fleet_[1].policy = changed;
  fleet_[0].lead.reset();
  fleet_[1].lead.reset();
  fleet_.run(5);
  EXPECT_FALSE(fleet_[0].lead || fleet_[1].lead);
  EXPECT_TRUE(fleet_.tests_.views().empty());
  fleet_[0].policy = fleet_[1].policy = policy_;
  ASSERT_TRUE(fleet_.run_until([&] { return fleet_[0].lead && fleet_[1].lead; }, 5));
}

TEST_F(TwoLedNodes, ANewRevisionIsNoSurgeOfTraffic) {
  const auto changed = StreamingFleet::make_policy("shop");
  changed->mutable_metadata()->set_revision(2);
  fleet_[0].policy = fleet_[1].policy = changed;
  for (int i = 0; i < 20; ++i) {
    fleet_.turn();
    const auto views = fleet_.tests_.views();
    if (views.contains({"shop", "A"})) EXPECT_LT(views.at({"shop", "A"}).throughput(), 300) << i;
  }
  EXPECT_TRUE(fleet_[0].lead && fleet_[1].lead);
}

TEST(CauseTests, ANodeAloneJudgesByItself) {
  StreamingFleet fleet;
  fleet.add("a", StreamingFleet::make_policy("shop"));
  fleet.run(20);
  fleet.capacity_ = 60;
  fleet.run(30);
  EXPECT_FALSE(fleet[0].lead);
  EXPECT_TRUE(fleet.decisions_.empty()) << fleet.story();
}

TEST(CauseTests, NodesThatDoNotTellWhatATestNeedsAreLeftAlone) {
  StreamingFleet fleet;
  const auto policy = StreamingFleet::make_policy("shop");
  for (const char* name : {"a", "b", "c"}) fleet.add(name, policy);
  fleet[2].tells = false;
  fleet.run(5);
  EXPECT_TRUE(fleet[0].lead && fleet[1].lead);
  EXPECT_FALSE(fleet[2].lead);
}

TEST(CauseTests, ANodeThatCountsWhatCannotBeIsLeftAloneAndHarmsNobody) {
  using Spoil = std::function<void(v1::Counters&, v1::UpstreamCounters&)>;
  const auto most = std::numeric_limits<std::int64_t>::max();
  const std::vector<Spoil> nonsense{
      [](auto&, auto& of) { of.set_attempts(std::numeric_limits<std::uint64_t>::max()); },
      [](auto&, auto& of) { of.set_errors(std::numeric_limits<std::uint64_t>::max()), of.set_timeouts(7); },
      [](auto&, auto& of) { of.set_in_flight(std::numeric_limits<std::int32_t>::max()); },
      [](auto&, auto& of) { of.set_in_flight(-1); },
      [](auto&, auto& of) { of.set_waiting(std::numeric_limits<std::int32_t>::max()); },
      [&](auto&, auto& of) { of.mutable_ok_latency()->set_seconds(most); },
      [&](auto&, auto& of) { of.mutable_mean_age()->set_seconds(-most); },
      [&](auto&, auto& of) { of.mutable_mean_age()->set_seconds(most); },
      [&](auto&, auto& of) { of.mutable_patience()->set_seconds(-5); },
      [&](auto&, auto& of) { of.mutable_patience()->set_seconds(most); },
      [&](auto& all, auto&) { all.mutable_run_delay()->set_seconds(most); },
      [](auto& all, auto&) { all.set_memory_pressure(std::numeric_limits<double>::quiet_NaN()); },
  };
  for (std::size_t i = 0; i < nonsense.size(); ++i) {
    StreamingFleet fleet;
    const auto policy = StreamingFleet::make_policy("shop");
    for (const char* name : {"a", "b", "mad"}) fleet.add(name, policy);
    fleet.run(20);
    ASSERT_TRUE(fleet[2].lead) << i;
    for (int turn = 0; turn < 200; ++turn) {
      fleet[2].silent = true;
      auto counters = std::make_shared<v1::Counters>(*fleet[2].counters);
      nonsense[i](*counters, *counters->mutable_upstreams(0));
      fleet[2].counters = counters;
      fleet[2].counted = fleet.now_;
      fleet.turn();
    }
    EXPECT_FALSE(fleet[2].lead) << i;
    for (int sane : {0, 1}) {
      ASSERT_TRUE(fleet[sane].lead) << i;
      EXPECT_FALSE(fleet[sane].lead->limit) << i << ": " << fleet.story();
    }
    EXPECT_TRUE(fleet.decisions_.empty()) << i << ": " << fleet.story();
  }
}

TEST(CauseTests, WhatANodeHasFoundOutItselfIsNotThrownAway) {
  StreamingFleet fleet;
  const auto policy = StreamingFleet::make_policy("shop");
  fleet.add("a", policy).own_state = "track";
  fleet.add("b", policy);
  fleet.run(10);
  EXPECT_FALSE(fleet[0].lead || fleet[1].lead);
  fleet[0].own_state = "free";
  ASSERT_TRUE(fleet.run_until([&] { return fleet[0].lead && fleet[1].lead; }, 5));
}

TEST(CauseTests, ServicesThatCallOneThirdPartyAreCutTogether) {
  StreamingFleet fleet;
  const auto shop = StreamingFleet::make_policy("shop", "payments", "pay.example.com");
  const auto blog = StreamingFleet::make_policy("blog", "money", "pay.example.com");
  fleet.add("a", shop);
  fleet.add("b", shop);
  fleet.add("c", blog);
  fleet.add("d", blog);
  fleet.run(30);
  fleet.capacity_ = 260;
  ASSERT_TRUE(fleet.run_until([&] { return !fleet.verdicts("ours").empty(); }, 30)) << fleet.story();
  fleet.run(5);
  std::set<std::string> told;
  for (const v1::Decision& decision : fleet.verdicts("ours")) told.insert(decision.service() + "/" + decision.name());
  EXPECT_EQ(told, (std::set<std::string>{"shop/payments", "blog/money"})) << "each service's log has it";
  for (std::size_t i = 0; i < 4; ++i) EXPECT_TRUE(fleet[i].lead && fleet[i].lead->limit) << i;
  EXPECT_EQ(fleet.tests_.views().at({"blog", "money"}).services_size(), 2);
}

TEST(CauseTests, UpstreamsOfOneServiceTakeTurns) {
  StreamingFleet fleet;
  const auto policy = StreamingFleet::make_policy("shop");
  StreamingFleet::add_upstream(*policy, "B", "b.example.com");
  fleet.add("a", policy);
  fleet.add("b", policy);
  fleet.run(30);
  fleet.capacity_ = 133;
  // Both read the same counters, so both want to know.
  bool tested = false;
  for (int i = 0; i < 300; ++i) {
    fleet.turn();
    int testing = 0;
    for (const auto& [name, view] : fleet.tests_.views())
      testing += view.state() == "freeze" || view.state() == "cut" || view.state() == "search";
    EXPECT_LE(testing, 1);
    tested |= testing == 1;
  }
  EXPECT_TRUE(tested) << fleet.story();
}

TEST(CauseTests, AShadowPolicyIsComputedAndLoggedAndLeadsNobody) {
  StreamingFleet fleet;
  const auto policy = StreamingFleet::make_policy("shop");
  policy->mutable_spec()->set_mode(v1::POLICY_MODE_SHADOW);
  fleet.add("a", policy);
  fleet.add("b", policy);
  fleet.run(30);
  fleet.capacity_ = 133;
  ASSERT_TRUE(fleet.run_until([&] { return !fleet.decisions_.empty(); }, 30));
  EXPECT_TRUE(fleet.decisions_.front().shadow());
  EXPECT_FALSE(fleet[0].lead || fleet[1].lead);
  EXPECT_EQ(fleet[0].period, milliseconds(0)) << "for a shadow nobody hurries";
}

TEST(CauseTests, AFleetThatIsTooLargeForHasteIsAskedForFewerCounters) {
  StreamingFleet fleet;
  const auto policy = StreamingFleet::make_policy("shop");
  for (int i = 0; i < 400; ++i) StreamingFleet::add_upstream(*policy, "B" + std::to_string(i), "b" + std::to_string(i));
  for (int i = 0; i < 100; ++i) fleet.add("n" + std::to_string(i), policy).rate = 2;
  fleet.run(2);
  EXPECT_EQ(fleet[0].period, milliseconds(500))
      << "40,000 upstreams of nodes, counted ten times a second by own trouble";
}

}  // namespace
}  // namespace penstock::controller
