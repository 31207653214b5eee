#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/unit/controller/loop/sample_fleet.h"

namespace penstock::controller {
namespace {

using testing::HasSubstr;

// Four connected nodes, A closed everywhere; Prometheus says nothing.
class FourNodes : public testing::Test {
 protected:
  FourNodes() {
    for (const char* name : {"n1", "n2", "n3", "n4"}) sample_.add(name, 100);
  }
  void see(const std::string& node, v1::BreakerState state, const std::string& reason) {
    sample_.counters(node).mutable_upstreams(0)->set_breaker(state);
    sample_.node(node).last_transition["A"].set_to(state);
    sample_.node(node).last_transition["A"].set_reason(reason);
  }
  void open(const std::string& node) { see(node, v1::BREAKER_STATE_OPEN, "usefulness: 0.01 < 0.05"); }

  // Nodes that the plan trips.
  static std::string tripped(Plan& plan) {
    std::string out;
    for (auto& [id, desired] : plan.desired) {
      const auto found = desired.upstreams.find("A");
      if (found != desired.upstreams.end() && found->second.breaker() == v1::BREAKER_OVERRIDE_TRIP) out += id.node;
    }
    return out;
  }
  static const v1::Decision* find(const Plan& plan, const std::string& action) {
    for (const auto& decision : plan.decisions) {
      if (decision.kind() == "upstream" && decision.action() == action) return &decision;
    }
    return nullptr;
  }

  SampleFleet sample_;
};

TEST_F(FourNodes, OneIsNoMajority) {
  open("n1");
  Plan plan = sample_.turn();
  EXPECT_EQ(tripped(plan), "");
  EXPECT_EQ(find(plan, "trip"), nullptr);
}

TEST_F(FourNodes, HalfOfThemTripTheOthers) {
  open("n1");
  open("n3");
  Plan plan = sample_.turn();
  EXPECT_EQ(tripped(plan), "n2n4");
  const v1::Decision* trip = find(plan, "trip");
  ASSERT_NE(trip, nullptr);
  EXPECT_EQ(trip->name(), "A");
  EXPECT_EQ(trip->node(), "");
  EXPECT_EQ(trip->reason(), "fleet");
  EXPECT_THAT(trip->message(), HasSubstr("open on 2 of 4 nodes by their own judgement (n1, n3): tripped on n2, n4"));
  plan = sample_.turn();
  EXPECT_EQ(tripped(plan), "n2n4");
  EXPECT_EQ(find(plan, "trip"), nullptr) << "it is logged once";
}

TEST_F(FourNodes, TripEndsWhenAllAreClosedAgain) {
  open("n1");
  open("n2");
  sample_.turn();
  see("n3", v1::BREAKER_STATE_OPEN, "fleet: open on most nodes of the fleet");
  see("n1", v1::BREAKER_STATE_HALF_OPEN, "timer: probing");
  see("n2", v1::BREAKER_STATE_CLOSED, "probes_succeeded: 3 of 3");
  Plan plan = sample_.turn();
  EXPECT_EQ(tripped(plan), "n3n4");
  for (const char* name : {"n1", "n2", "n3", "n4"}) see(name, v1::BREAKER_STATE_CLOSED, "probes_succeeded: 3 of 3");
  plan = sample_.turn();
  EXPECT_EQ(tripped(plan), "");
  EXPECT_NE(find(plan, "close"), nullptr);
}

TEST_F(FourNodes, WhatWasImposedIsNoWitness) {
  see("n1", v1::BREAKER_STATE_OPEN, "forced: by an operator");
  see("n2", v1::BREAKER_STATE_OPEN, "fleet: open on most nodes of the fleet");
  open("n3");
  Plan plan = sample_.turn();
  EXPECT_EQ(tripped(plan), "");
}

TEST_F(FourNodes, OldCountersAndLostNodesDoNotCount) {
  open("n1");
  open("n2");
  sample_.node("n2").connected = false;
  Plan plan = sample_.turn();
  EXPECT_EQ(tripped(plan), "");
}

TEST_F(FourNodes, OperatorsOverrideStandsAboveTheFleet) {
  v1::Override& imposed = sample_.fleet_.overrides.emplace_back();
  imposed.set_kind("upstream");
  imposed.set_name("A");
  imposed.set_service("shop");
  imposed.set_value("closed");
  open("n1");
  open("n2");
  Plan plan = sample_.turn();
  EXPECT_EQ(tripped(plan), "");
}

TEST_F(FourNodes, InShadowOnlyTheLogSaysSo) {
  sample_.policy().mutable_spec()->set_mode(v1::POLICY_MODE_SHADOW);
  open("n1");
  open("n2");
  Plan plan = sample_.turn();
  EXPECT_EQ(tripped(plan), "");
  ASSERT_NE(find(plan, "trip"), nullptr);
  EXPECT_TRUE(find(plan, "trip")->shadow());
}

}  // namespace
}  // namespace penstock::controller
