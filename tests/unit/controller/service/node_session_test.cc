#include "controller/service/node_session.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "controller/store/store.h"
#include "proto/errors/error.h"
#include "tests/unit/controller/manual_clock.h"
#include "tests/unit/controller/temporary_directory.h"

namespace penstock::controller {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

std::shared_ptr<v1::Policy> make_policy(std::int64_t revision) {
  auto policy = std::make_shared<v1::Policy>();
  policy->mutable_metadata()->set_name("shop");
  policy->mutable_metadata()->set_revision(revision);
  policy->mutable_metadata()->set_etag("e" + std::to_string(revision));
  policy->mutable_spec()->set_service("shop");
  policy->mutable_spec()->add_pools()->set_name("default");
  policy->mutable_spec()->add_upstreams()->set_name("A");
  return policy;
}

class JoinedNode : public testing::Test {
 protected:
  void SetUp() override {
    auto opened = Store::open(directory_.path(), clock_);
    ASSERT_TRUE(opened.ok()) << opened.status();
    store_ = *std::move(opened);
    log_ = std::make_unique<DecisionLog>(*store_, clock_, std::chrono::hours(1));
    fleet_.set_policy(make_policy(1));
    session_.emplace(
        NodeSession::Context{fleet_, *log_, clock_, 9, seconds(15)},
        Caller{.identity = "local", .role = Role::operator_, .local = true}, [this] { ++wakes_; }, [] {});
    v1::AgentMessage hello;
    hello.mutable_hello()->set_service("shop");
    hello.mutable_hello()->set_node("a");
    ASSERT_TRUE(session_->receive(hello).ok());
  }
  void TearDown() override { session_.reset(); }

  absl::Status answer(const v1::Push& push, const std::string& refusal = "") {
    v1::AgentMessage message;
    message.mutable_ack()->set_version(push.version());
    message.mutable_ack()->set_nonce(push.nonce());
    if (!refusal.empty())
      *message.mutable_ack()->mutable_error() =
          errors::to_rpc({.reason = errors::Reason::policy_invalid, .message = refusal});
    return session_->receive(message);
  }
  static v1::AgentMessage counters() {
    v1::AgentMessage message;
    message.mutable_counters()->mutable_lease()->set_seconds(10);
    return message;
  }
  v1::Push push() {
    auto push = session_->next_push();
    EXPECT_TRUE(push.has_value());
    return push.value_or(v1::Push());
  }
  void desire(int limit) {
    Desired desired;
    desired.pools["default"].set_pool("default");
    desired.pools["default"].set_limit(limit);
    fleet_.set_desired(kNode, desired);
  }

  const NodeId kNode{"shop", "a"};
  TemporaryDirectory directory_;
  ManualClock clock_;
  std::unique_ptr<Store> store_;
  std::unique_ptr<DecisionLog> log_;
  Fleet fleet_{clock_};
  int wakes_ = 0;
  std::optional<NodeSession> session_;
};

TEST_F(JoinedNode, FirstPushIsFullAndTakesBackWhatAnEarlierStreamImposed) {
  const auto full = push();
  EXPECT_EQ(full.epoch(), 9u);
  EXPECT_EQ(full.policy().metadata().revision(), 1);
  EXPECT_TRUE(full.has_drain());
  ASSERT_EQ(full.upstreams_size(), 1);
  EXPECT_EQ(full.upstreams(0).breaker(), v1::BREAKER_OVERRIDE_AUTO);
}

TEST_F(JoinedNode, IsToldOfThePolicyInShadowBesideItsOwnAndDecidesInItsName) {
  ASSERT_TRUE(answer(push()).ok());
  auto next = std::make_shared<v1::Policy>(*make_policy(1));
  next->mutable_metadata()->set_name("shop-next");
  next->mutable_spec()->set_mode(v1::POLICY_MODE_SHADOW);
  next->mutable_spec()->add_upstreams()->set_name("B");
  fleet_.set_policy(next);
  const auto beside = push();
  EXPECT_FALSE(beside.has_policy());
  EXPECT_EQ(beside.shadow_policy().metadata().name(), "shop-next");
  ASSERT_TRUE(answer(beside).ok());
  EXPECT_FALSE(session_->next_push().has_value());

  v1::AgentMessage told = counters();
  for (const char* policy : {"shop-next", "", "invented"}) {
    auto& decision = *told.mutable_counters()->add_decisions();
    decision.set_kind("upstream");
    decision.set_name("B");
    decision.set_action("trip");
    decision.set_policy(policy);
  }
  ASSERT_TRUE(session_->receive(told).ok());
  std::vector<std::string> logged;
  const auto all = log_->list({}, 10, 0);
  ASSERT_TRUE(all.ok());
  for (const auto& decision : *all)
    if (decision.action() == "trip")
      logged.push_back(decision.policy() + " " + decision.name() + (decision.shadow() ? " shadow" : ""));
  EXPECT_THAT(logged, testing::UnorderedElementsAre("shop-next B shadow", "shop other", "shop other shadow"));

  fleet_.remove_policy("shop-next");
  const auto alone = push();
  EXPECT_TRUE(alone.has_shadow_policy());
  EXPECT_FALSE(alone.shadow_policy().has_spec());
}

TEST_F(JoinedNode, OnePushAtATimeThenOnlyWhatChangedSinceTheAnswer) {
  const auto full = push();
  desire(100);
  desire(200);
  EXPECT_GE(wakes_, 1);
  EXPECT_FALSE(session_->next_push().has_value()) << "the first one is not answered";
  ASSERT_TRUE(answer(full).ok());
  const auto change = push();
  EXPECT_FALSE(change.has_policy());
  ASSERT_EQ(change.pools_size(), 1);
  EXPECT_EQ(change.pools(0).limit(), 200);
  EXPECT_EQ(change.upstreams_size(), 0);
  EXPECT_GT(change.version(), full.version());
  ASSERT_TRUE(answer(change).ok());
  EXPECT_FALSE(session_->next_push().has_value());
  const int before = wakes_;
  desire(200);
  EXPECT_EQ(wakes_, before) << "equal directives wake nobody";
}

TEST_F(JoinedNode, LeaseIsRenewedAfterAThirdOfTheTtl) {
  ASSERT_TRUE(answer(push()).ok());
  EXPECT_EQ(fleet_.node(kNode)->lease_until, clock_.now() + seconds(15));
  clock_.advance(milliseconds(4999));
  EXPECT_FALSE(session_->next_push().has_value());
  clock_.advance(milliseconds(1));
  const auto renewal = push();
  EXPECT_FALSE(renewal.has_policy() || renewal.has_drain() || renewal.pools_size() + renewal.upstreams_size() > 0);
  ASSERT_TRUE(answer(renewal).ok());
  EXPECT_EQ(fleet_.node(kNode)->lease_until, clock_.now() + seconds(15));
}

TEST_F(JoinedNode, RefusedPolicyIsHeldBackWhileDirectivesGoOn) {
  ASSERT_TRUE(answer(push()).ok());
  fleet_.set_policy(make_policy(2));
  ASSERT_TRUE(answer(push(), "too new").ok());
  EXPECT_EQ(fleet_.node(kNode)->refusal, "POLICY_INVALID: too new");
  EXPECT_EQ(fleet_.node(kNode)->acked_revision, 1);
  desire(300);
  const auto change = push();
  EXPECT_FALSE(change.has_policy());
  ASSERT_EQ(change.pools_size(), 1);
  ASSERT_TRUE(answer(change).ok());
  EXPECT_EQ(fleet_.node(kNode)->refusal, "POLICY_INVALID: too new") << "still refused";
  clock_.advance(NodeSession::kRefusalHold);
  const auto again = push();
  EXPECT_EQ(again.policy().metadata().revision(), 2);
  ASSERT_TRUE(answer(again).ok());
  EXPECT_EQ(fleet_.node(kNode)->refusal, "");
  EXPECT_EQ(fleet_.node(kNode)->acked_revision, 2);
}

TEST_F(JoinedNode, CorrectedPolicyIsPushedAtOnce) {
  ASSERT_TRUE(answer(push()).ok());
  fleet_.set_policy(make_policy(2));
  ASSERT_TRUE(answer(push(), "no").ok());
  while (auto held = session_->next_push()) {
    EXPECT_FALSE(held->has_policy());
    ASSERT_TRUE(answer(*held).ok());
  }
  fleet_.set_policy(make_policy(3));
  const auto next = session_->next_push();
  ASSERT_TRUE(next.has_value());
  EXPECT_EQ(next->policy().metadata().revision(), 3);
  ASSERT_TRUE(answer(*next).ok());
  EXPECT_EQ(fleet_.node(kNode)->refusal, "");
}

TEST_F(JoinedNode, RefusesAnswersThatAnswerNothing) {
  const auto full = push();
  ASSERT_TRUE(answer(full).ok());
  EXPECT_EQ(errors::from_absl(answer(full))->reason, errors::Reason::nonce_replayed);
  v1::Push invented = full;
  invented.set_nonce("invented");
  EXPECT_EQ(errors::from_absl(answer(invented))->reason, errors::Reason::argument_invalid);
}

TEST_F(JoinedNode, KnowsAReplayAfterHundredsOfPushes) {
  v1::Push last, last_but_one;
  for (int i = 0; i < 1201; ++i) {
    clock_.advance(seconds(5));
    last_but_one = std::exchange(last, push());
    ASSERT_TRUE(answer(last).ok());
  }
  EXPECT_EQ(errors::from_absl(answer(last_but_one))->reason, errors::Reason::nonce_replayed);
}

TEST_F(JoinedNode, AnotherProcessOfTheSameNameIsRefusedAsLongAsThisOneSpeaks) {
  ASSERT_TRUE(answer(push()).ok());
  const auto join = [&](std::uint64_t applied_version) {
    NodeSession other(
        NodeSession::Context{fleet_, *log_, clock_, 9, seconds(15)},
        Caller{.identity = "local", .role = Role::operator_, .local = true}, [] {}, [] {});
    v1::AgentMessage hello;
    hello.mutable_hello()->set_service("shop");
    hello.mutable_hello()->set_node("a");
    hello.mutable_hello()->set_applied_version(applied_version);
    return other.receive(hello);
  };
  clock_.advance(std::chrono::milliseconds(500));
  ASSERT_TRUE(session_->receive(counters()).ok());
  clock_.advance(seconds(2));
  const auto refused = join(0);
  ASSERT_EQ(errors::from_absl(refused)->reason, errors::Reason::hello_invalid);
  EXPECT_THAT(std::string(refused.message()), testing::HasSubstr("a name of its own"));
  EXPECT_TRUE(fleet_.node(kNode)->connected);

  clock_.advance(seconds(2));
  EXPECT_TRUE(join(0).ok()) << "the first has not been heard of for long";
}

TEST_F(JoinedNode, SameProcessOnANewStreamTakesItsPlaceAtOnce) {
  const auto full = push();
  ASSERT_TRUE(answer(full).ok());
  NodeSession again(
      NodeSession::Context{fleet_, *log_, clock_, 9, seconds(15)},
      Caller{.identity = "local", .role = Role::operator_, .local = true}, [] {}, [] {});
  v1::AgentMessage hello;
  hello.mutable_hello()->set_service("shop");
  hello.mutable_hello()->set_node("a");
  hello.mutable_hello()->set_applied_version(full.version());
  EXPECT_TRUE(again.receive(hello).ok());
}

TEST_F(JoinedNode, AddressThatIsNoHostAndPortIsRefused) {
  for (const std::string address :
       {"http://10.0.0.1:80", "10.0.0.1", "10.0.0.1:80/debug", ":80", "a:b", "a:99999", "user@host:80", "a b:80"}) {
    NodeSession session(
        NodeSession::Context{fleet_, *log_, clock_, 9, seconds(15)},
        Caller{.identity = "local", .role = Role::operator_, .local = true}, [] {}, [] {});
    v1::AgentMessage hello;
    hello.mutable_hello()->set_service("shop");
    hello.mutable_hello()->set_node("b");
    hello.mutable_hello()->set_metrics_address(address);
    const auto status = session.receive(hello);
    ASSERT_FALSE(status.ok()) << address;
    EXPECT_EQ(errors::from_absl(status)->reason, errors::Reason::hello_invalid) << address;
  }
}

TEST_F(JoinedNode, UnansweredPushEndsTheStream) {
  push();
  clock_.advance(seconds(14));
  EXPECT_TRUE(session_->overdue().ok());
  clock_.advance(seconds(1));
  EXPECT_EQ(session_->overdue().code(), absl::StatusCode::kDeadlineExceeded);
}

TEST_F(JoinedNode, LostLeaseIsAnsweredWithAFullPush) {
  ASSERT_TRUE(answer(push()).ok());
  v1::AgentMessage counters;
  counters.mutable_counters()->mutable_lease();
  ASSERT_TRUE(session_->receive(counters).ok());
  EXPECT_TRUE(push().has_policy());
}

TEST_F(JoinedNode, WithdrawnPolicyIsTakenBackThenTheStreamEnds) {
  ASSERT_TRUE(answer(push()).ok());
  fleet_.remove_policy("shop");
  const auto withdrawal = push();
  EXPECT_TRUE(withdrawal.has_policy());
  EXPECT_FALSE(withdrawal.policy().has_spec());
  EXPECT_TRUE(session_->overdue().ok());
  ASSERT_TRUE(answer(withdrawal).ok());
  EXPECT_EQ(errors::from_absl(session_->overdue())->reason, errors::Reason::service_unknown);
}

TEST_F(JoinedNode, ComesAndGoesInTheLog) {
  session_->close("the connection was lost");
  EXPECT_FALSE(fleet_.node(kNode)->connected);
  auto decisions = log_->list({.kind = "node"}, 10, 0);
  ASSERT_TRUE(decisions.ok());
  ASSERT_EQ(decisions->size(), 2u);
  EXPECT_EQ((*decisions)[0].action(), "leave");
  EXPECT_EQ((*decisions)[1].action(), "join");
}

TEST_F(JoinedNode, WhatItDecidedItselfIsInTheLogWithItsNumbers) {
  ASSERT_TRUE(answer(push()).ok());
  auto message = counters();
  auto& taken = *message.mutable_counters()->add_decisions();
  taken.set_kind("upstream");
  taken.set_name("A");
  taken.set_action("test");
  taken.set_reason("search");
  taken.set_verdict("ours");
  taken.set_confidence(0.97);
  taken.set_message("throughput held");
  taken.set_formula("r = 96/s / 100/s = 0.96");
  taken.set_would_change("throughput that falls with the limit");
  (*taken.mutable_evidence()->mutable_fields())["r"].set_number_value(0.96);
  ASSERT_TRUE(session_->receive(message).ok());
  auto decisions = log_->list({.kind = "upstream"}, 10, 0);
  ASSERT_TRUE(decisions.ok());
  ASSERT_EQ(decisions->size(), 1u);
  const v1::Decision& decision = decisions->front();
  EXPECT_EQ(decision.node(), "a");
  EXPECT_EQ(decision.policy(), "shop");
  EXPECT_EQ(decision.action() + " " + decision.reason() + " " + decision.verdict(), "test search ours");
  EXPECT_DOUBLE_EQ(decision.confidence(), 0.97);
  EXPECT_EQ(decision.formula(), "r = 96/s / 100/s = 0.96");
  EXPECT_EQ(decision.would_change(), "throughput that falls with the limit");
  EXPECT_DOUBLE_EQ(decision.evidence().fields().at("r").number_value(), 0.96);
}

TEST_F(JoinedNode, NamesOnlyWhatItsPolicyHas) {
  ASSERT_TRUE(answer(push()).ok());
  auto message = counters();
  for (const char* name : {"A", "made-up"}) {
    auto& taken = *message.mutable_counters()->add_decisions();
    taken.set_kind("upstream");
    taken.set_name(name);
    taken.set_action("test");
    taken.set_verdict("made_up");
    auto& transition = *message.mutable_counters()->add_transitions();
    transition.set_upstream(name);
    transition.set_to(v1::BREAKER_STATE_OPEN);
  }
  ASSERT_TRUE(session_->receive(message).ok());
  auto decisions = log_->list({.kind = "upstream"}, 10, 0);
  ASSERT_TRUE(decisions.ok());
  std::map<std::string, int> names;
  for (const v1::Decision& decision : *decisions) {
    ++names[decision.name()];
    if (decision.action() == "test") EXPECT_EQ(decision.verdict(), "other");
  }
  EXPECT_EQ(names, (std::map<std::string, int>{{"A", 2}, {"other", 2}}));
}

TEST_F(JoinedNode, NeitherFloodsNorBreaksTheLog) {
  ASSERT_TRUE(answer(push()).ok());
  auto message = counters();
  for (int i = 0; i < 2000; ++i) {
    auto& taken = *message.mutable_counters()->add_decisions();
    taken.set_kind("policy");
    taken.set_action("rm -rf\n");
    taken.set_reason(std::string(3000, 'x'));
    std::string wide(999, 'a');
    for (int j = 0; j < 100; ++j) wide += "\u00e9";
    taken.set_message(wide);
  }
  ASSERT_TRUE(session_->receive(message).ok());
  auto decisions = log_->list({.action = "other"}, 1000, 0);
  ASSERT_TRUE(decisions.ok());
  ASSERT_EQ(decisions->size(), 256u);
  const v1::Decision& decision = decisions->front();
  EXPECT_EQ(decision.kind() + "/" + decision.name(), "node/a") << "a node does not speak for a policy";
  EXPECT_EQ(decision.reason(), "other");
  EXPECT_EQ(decision.message().size(), 999u) << "cut between two characters";
}

TEST_F(JoinedNode, AFleetsLimitIsPushedUnderAShortLeaseThatIsRenewedSooner) {
  ASSERT_TRUE(answer(push()).ok());
  const auto governed_by = fleet_.policy("shop");
  fleet_.lead({{{kNode, "A", Lead{.limit = 40, .tight = true, .reason = "the knee"}}, governed_by}});
  EXPECT_GE(wakes_, 1);
  const auto limited = push();
  ASSERT_EQ(limited.upstreams_size(), 1);
  EXPECT_EQ(limited.upstreams(0).limit(), 40);
  EXPECT_TRUE(limited.upstreams(0).tight());
  EXPECT_TRUE(limited.upstreams(0).fleet_leads());
  EXPECT_EQ(limited.upstreams(0).reason(), "the knee");
  EXPECT_EQ(limited.upstreams(0).breaker(), v1::BREAKER_OVERRIDE_AUTO);
  EXPECT_EQ(limited.ttl().seconds(), 5);
  ASSERT_TRUE(answer(limited).ok());
  EXPECT_EQ(fleet_.node(kNode)->lease_until, clock_.now() + seconds(5));
  clock_.advance(milliseconds(1700));
  const auto renewal = push();
  EXPECT_EQ(renewal.upstreams_size(), 0);
  EXPECT_EQ(renewal.ttl().seconds(), 5);
  ASSERT_TRUE(answer(renewal).ok());

  fleet_.lead({{{kNode, "A", Lead{}}, governed_by}});
  const auto led = push();
  EXPECT_FALSE(led.upstreams(0).has_limit());
  EXPECT_TRUE(led.upstreams(0).fleet_leads());
  EXPECT_EQ(led.ttl().seconds(), 15);
  ASSERT_TRUE(answer(led).ok());
  fleet_.lead({{{kNode, "A", std::nullopt}, governed_by}});
  EXPECT_FALSE(push().upstreams(0).fleet_leads());
}

TEST_F(JoinedNode, WhatAnEarlierPolicyWasToldIsNotCarriedOver) {
  ASSERT_TRUE(answer(push()).ok());
  const auto earlier = fleet_.policy("shop");
  fleet_.set_policy(make_policy(2));
  ASSERT_TRUE(answer(push()).ok());
  fleet_.lead({{{kNode, "A", Lead{.limit = 40}}, earlier}});
  EXPECT_FALSE(session_->next_push().has_value());
}

TEST_F(JoinedNode, AnOperatorsOverrideStandsBesideTheFleetsLimit) {
  ASSERT_TRUE(answer(push()).ok());
  fleet_.lead({{{kNode, "A", Lead{.limit = 40, .reason = "the knee"}}, fleet_.policy("shop")}});
  v1::Override imposed;
  imposed.set_kind("upstream");
  imposed.set_service("shop");
  imposed.set_name("A");
  imposed.set_value("closed");
  imposed.set_reason("I know");
  imposed.mutable_expire_time()->set_seconds(4'000'000'000);
  fleet_.set_override(imposed);
  const auto both = push();
  ASSERT_EQ(both.upstreams_size(), 1);
  EXPECT_EQ(both.upstreams(0).breaker(), v1::BREAKER_OVERRIDE_FORCE_CLOSED);
  EXPECT_EQ(both.upstreams(0).limit(), 40);
  ASSERT_TRUE(answer(both).ok());
  fleet_.remove_override("upstream", "A", "shop");
  const auto after = push();
  EXPECT_EQ(after.upstreams(0).breaker(), v1::BREAKER_OVERRIDE_AUTO);
  EXPECT_EQ(after.upstreams(0).limit(), 40);
}

TEST_F(JoinedNode, IsAskedForCountersMoreOftenAndReleasedFromIt) {
  const auto full = push();
  EXPECT_FALSE(full.has_counters_period());
  ASSERT_TRUE(answer(full).ok());
  fleet_.set_counters_period(kNode, milliseconds(100));
  const auto hurry = push();
  EXPECT_EQ(hurry.counters_period().nanos(), 100'000'000);
  ASSERT_TRUE(answer(hurry).ok());
  fleet_.set_counters_period(kNode, milliseconds(100));
  EXPECT_FALSE(session_->next_push().has_value());
  fleet_.set_counters_period(kNode, {});
  const auto calm = push();
  ASSERT_TRUE(calm.has_counters_period());
  EXPECT_EQ(calm.counters_period().nanos() + calm.counters_period().seconds(), 0);
}

}  // namespace
}  // namespace penstock::controller
