#include "controller/fleet/fleet.h"

#include <gtest/gtest.h>

#include "policy/convert.h"
#include "tests/unit/controller/manual_clock.h"

namespace penstock::controller {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

class FleetOfOne : public testing::Test {
 protected:
  void SetUp() override {
    auto policy = std::make_shared<v1::Policy>();
    policy->mutable_metadata()->set_name("shop");
    policy->mutable_metadata()->set_etag("1");
    policy->mutable_spec()->set_service("shop");
    auto* pool = policy->mutable_spec()->add_pools();
    pool->set_name("default");
    pool->set_fallback_limit(64);
    policy->mutable_spec()->add_upstreams()->set_name("A");
    fleet_.set_policy(policy);
    session_ = connect();
  }
  std::uint64_t connect(Fleet::Wake replaced = [] {}) {
    v1::Hello hello;
    hello.set_service("shop");
    hello.set_node("a");
    return fleet_.connect(
        hello, [this] { ++wakes_; }, std::move(replaced));
  }
  v1::Override override_of(const std::string& kind, const std::string& name, const std::string& value) {
    v1::Override imposed;
    imposed.set_kind(kind);
    imposed.set_name(name);
    imposed.set_service("shop");
    imposed.set_value(value);
    *imposed.mutable_expire_time() = policy::to_proto(clock_.wall() + seconds(60));
    return imposed;
  }
  void count(int uptime) {
    v1::Counters counters;
    counters.mutable_uptime()->set_seconds(uptime);
    fleet_.record_counters(kNode, session_, counters);
  }

  const NodeId kNode{"shop", "a"};
  ManualClock clock_;
  Fleet fleet_{clock_};
  std::uint64_t session_ = 0;
  int wakes_ = 0;
};

TEST_F(FleetOfOne, OverridesStandAboveDirectivesAndEndWithTheirTime) {
  Desired desired;
  desired.pools["default"].set_pool("default");
  desired.pools["default"].set_limit(500);
  fleet_.set_desired(kNode, desired);
  EXPECT_EQ(fleet_.effective(kNode).pools.at("default").limit(), 500);
  fleet_.set_override(override_of("pool", "default", "10"));
  fleet_.set_override(override_of("upstream", "A", "open"));
  fleet_.set_override(override_of("node", "a", "drain"));
  const auto imposed = fleet_.effective(kNode);
  EXPECT_EQ(imposed.pools.at("default").limit(), 10);
  EXPECT_EQ(imposed.upstreams.at("A").breaker(), v1::BREAKER_OVERRIDE_FORCE_OPEN);
  EXPECT_TRUE(imposed.drain);
  clock_.advance(seconds(60));
  EXPECT_EQ(fleet_.expire().size(), 3u);
  const auto after = fleet_.effective(kNode);
  EXPECT_EQ(after.pools.at("default").limit(), 500);
  EXPECT_EQ(after.upstreams.at("A").breaker(), v1::BREAKER_OVERRIDE_AUTO);
  EXPECT_FALSE(after.drain);
  EXPECT_GT(after.version, imposed.version);
}

TEST_F(FleetOfOne, IsToldWhatToExpectAndAnewWhenThatMoves) {
  const auto expect = [&](double latency) {
    Baselines baselines;
    if (latency > 0) baselines.upstreams[{"shop", "A"}].expected = decision::Baseline::Expected{latency};
    baselines.upstreams[{"bakery", "A"}].expected = decision::Baseline::Expected{9};
    baselines.upstreams[{"shop", "gone"}].expected = decision::Baseline::Expected{9};
    fleet_.set_baselines(std::move(baselines));
    return fleet_.effective(kNode);
  };
  const auto told = [&](const Effective& effective) {
    return policy::to_chrono(effective.upstreams.at("A").expected_latency());
  };
  const auto first = expect(0.2);
  EXPECT_EQ(told(first), milliseconds(200));
  EXPECT_EQ(first.upstreams.size(), 1u);
  EXPECT_EQ(wakes_, 1);
  EXPECT_EQ(told(expect(0.208)), milliseconds(200));
  EXPECT_EQ(wakes_, 1);
  EXPECT_EQ(told(expect(0.25)), milliseconds(250));
  EXPECT_EQ(wakes_, 2);
  // Beside what else it is told.
  fleet_.set_override(override_of("upstream", "A", "open"));
  EXPECT_EQ(told(fleet_.effective(kNode)), milliseconds(250));
  // What agents would refuse is not told; what is no longer expected is taken back.
  EXPECT_FALSE(expect(1e5).upstreams.at("A").has_expected_latency());
  EXPECT_FALSE(expect(0).upstreams.at("A").has_expected_latency());
}

TEST_F(FleetOfOne, WithoutADirectiveAnEndedOverrideLeavesTheFallback) {
  fleet_.set_override(override_of("pool", "default", "10"));
  fleet_.remove_override("pool", "default", "shop");
  EXPECT_EQ(fleet_.effective(kNode).pools.at("default").limit(), 64);
}

TEST_F(FleetOfOne, RatesSpanAboutFiveSeconds) {
  count(100);
  EXPECT_EQ(fleet_.node(kNode)->earlier.counters, nullptr);
  for (int i = 1; i <= 20; ++i) {
    clock_.advance(milliseconds(500));
    count(100 + i);
  }
  const auto node = *fleet_.node(kNode);
  EXPECT_EQ(node.latest.counters->uptime().seconds(), 120);
  EXPECT_EQ(node.latest.at - node.earlier.at, seconds(5));
}

TEST_F(FleetOfOne, RestartedProcessIsNotComparedWithItsPredecessor) {
  count(100);
  clock_.advance(seconds(1));
  count(1);
  EXPECT_EQ(fleet_.node(kNode)->earlier.counters, nullptr);
}

TEST_F(FleetOfOne, ReplacedStreamSaysNothingMore) {
  bool replaced = false;
  session_ = connect([&] { replaced = true; });
  const auto old = session_;
  session_ = connect();
  EXPECT_TRUE(replaced);
  EXPECT_FALSE(fleet_.disconnect(kNode, old));
  fleet_.record_refusal(kNode, old, "no");
  EXPECT_EQ(fleet_.node(kNode)->refusal, "");
  EXPECT_TRUE(fleet_.node(kNode)->connected);
}

TEST_F(FleetOfOne, ForgetsNodesThatAreLongGone) {
  fleet_.disconnect(kNode, session_);
  clock_.advance(Fleet::kForgetAfter - seconds(1));
  fleet_.expire();
  EXPECT_EQ(fleet_.nodes().size(), 1u);
  clock_.advance(seconds(1));
  fleet_.expire();
  EXPECT_TRUE(fleet_.nodes().empty());
}

TEST(Fleet, ANewRevisionEndsWhatTestsImposedUnderTheOld) {
  ManualClock clock;
  Fleet fleet(clock);
  const auto make = [](int revision) {
    auto policy = std::make_shared<v1::Policy>();
    policy->mutable_metadata()->set_name("shop");
    policy->mutable_metadata()->set_etag(std::to_string(revision));
    policy->mutable_spec()->set_service("shop");
    policy->mutable_spec()->add_upstreams()->set_name("A");
    return policy;
  };
  v1::Hello hello;
  hello.set_service("shop");
  hello.set_node("a");
  const NodeId id{"shop", "a"};
  fleet.set_policy(make(1));
  fleet.connect(
      hello, [] {}, [] {});
  fleet.lead({{{id, "A", Lead{.limit = 7, .tight = true}}, fleet.policy("shop")}});
  EXPECT_EQ(fleet.effective(id).upstreams.at("A").limit(), 7);
  // It may have switched the test off: then nobody would take the limit back.
  fleet.set_policy(make(2));
  const auto effective = fleet.effective(id);
  EXPECT_FALSE(effective.upstreams.at("A").has_limit());
  EXPECT_FALSE(effective.upstreams.at("A").fleet_leads());
}

TEST(Fleet, AnActivePolicyGovernsAndThoseInShadowStandBesideIt) {
  ManualClock clock;
  Fleet fleet(clock);
  const auto make = [](const std::string& name, v1::PolicyMode mode) {
    auto policy = std::make_shared<v1::Policy>();
    policy->mutable_metadata()->set_name(name);
    policy->mutable_spec()->set_service("shop");
    policy->mutable_spec()->set_mode(mode);
    return policy;
  };
  v1::Hello hello;
  hello.set_service("shop");
  hello.set_node("a");
  fleet.set_policy(make("a-next", v1::POLICY_MODE_SHADOW));
  fleet.connect(
      hello, [] {}, [] {});
  EXPECT_EQ(fleet.node({"shop", "a"})->policy->metadata().name(), "a-next") << "alone it governs, and actuates nothing";
  fleet.set_policy(make("shop", v1::POLICY_MODE_ACTIVE));
  const auto node = fleet.node({"shop", "a"});
  EXPECT_EQ(node->policy->metadata().name(), "shop");
  ASSERT_EQ(node->shadows.size(), 1u);
  EXPECT_EQ(node->shadows[0]->metadata().name(), "a-next");
  const auto told = fleet.effective({"shop", "a"});
  ASSERT_NE(told.shadow, nullptr);
  EXPECT_EQ(told.shadow->metadata().name(), "a-next");
  fleet.remove_policy("a-next");
  EXPECT_TRUE(fleet.node({"shop", "a"})->shadows.empty());
  EXPECT_EQ(fleet.effective({"shop", "a"}).shadow, nullptr);
  EXPECT_GT(fleet.effective({"shop", "a"}).version, told.version);
}

}  // namespace
}  // namespace penstock::controller
