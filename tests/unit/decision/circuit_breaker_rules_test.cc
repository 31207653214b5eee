#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <list>

#include "penstock/decision/circuit_breaker.h"

// The operator's explicit rules: error ratio and slow-call ratio.
namespace penstock::decision {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;

Instant at(double s) { return Instant{} + from_seconds(s); }

class RuleTest : public testing::Test {
 protected:
  static BreakerPolicy policy() { return {.min_calls = 20, .window = seconds(10), .usefulness = false}; }
  void make(const BreakerPolicy& policy) { breaker_.emplace(policy, seconds(10), 1); }

  void call(double start, double latency, CallOutcome outcome) {
    CircuitBreaker::Call call;
    ASSERT_TRUE(breaker_->begin(call, seconds(10), at(start)));
    breaker_->end(call, outcome, at(start + latency));
  }
  CircuitBreaker::Call& begin(double start) {
    calls_.emplace_back();
    EXPECT_TRUE(breaker_->begin(calls_.back(), seconds(10), at(start)));
    return calls_.back();
  }
  BreakerState state() { return breaker_->state(); }

  std::optional<CircuitBreaker> breaker_;
  std::list<CircuitBreaker::Call> calls_;
};

TEST_F(RuleTest, ErrorRatioOpensAboveItsShare) {
  BreakerPolicy p = policy();
  p.error_ratio = 0.5;
  make(p);
  for (int i = 0; i < 10; ++i) call(1, 0.05, CallOutcome::ok);
  for (int i = 0; i < 5; ++i) call(1, 0.05, CallOutcome::error);
  for (int i = 0; i < 5; ++i) call(1, 0.05, CallOutcome::timeout);
  EXPECT_EQ(state(), BreakerState::closed) << "exactly half is not more than half";
  call(1, 0.05, CallOutcome::error);
  EXPECT_EQ(state(), BreakerState::open);
  const auto transition = breaker_->take_transition();
  ASSERT_TRUE(transition);
  EXPECT_EQ(transition->from, BreakerState::closed);
  EXPECT_EQ(transition->to, BreakerState::open);
  EXPECT_EQ(transition->reason, "error_ratio");
  EXPECT_THAT(transition->message, HasSubstr("11 of 21 calls of the last 10 s failed: 52.4 %, more than 50.0 %"));
  EXPECT_FALSE(breaker_->take_transition());
}

TEST_F(RuleTest, WaitsForItsCalls) {
  BreakerPolicy p = policy();
  p.error_ratio = 0.5;
  make(p);
  for (int i = 0; i < 19; ++i) call(1, 0.05, CallOutcome::error);
  EXPECT_EQ(state(), BreakerState::closed);
  call(1, 0.05, CallOutcome::error);
  EXPECT_EQ(state(), BreakerState::open);
}

TEST_F(RuleTest, ForgetsWhatLeftTheWindow) {
  BreakerPolicy p = policy();
  p.error_ratio = 0.5;
  make(p);
  for (int i = 0; i < 19; ++i) call(1, 0.05, CallOutcome::error);
  for (int i = 0; i < 10; ++i) call(12, 0.05, CallOutcome::error);
  breaker_->tick(at(13), 0);
  EXPECT_EQ(state(), BreakerState::closed);
}

TEST_F(RuleTest, CallersWhoGiveUpAreNoErrors) {
  BreakerPolicy p = policy();
  p.error_ratio = 0.1;
  make(p);
  for (int i = 0; i < 100; ++i) call(1, 0.05, CallOutcome::cancelled);
  for (int i = 0; i < 30; ++i) call(1, 0.05, CallOutcome::ok);
  EXPECT_EQ(state(), BreakerState::closed);
}

TEST_F(RuleTest, ARatioOfOneOpensWhenAllFail) {
  BreakerPolicy p = policy();
  p.error_ratio = 1.0;
  make(p);
  for (int i = 0; i < 20; ++i) call(1, 0.05, CallOutcome::error);
  EXPECT_EQ(state(), BreakerState::open);
}

TEST_F(RuleTest, ACallIsSlowAsSoonAsItIsTooOldAndOnlyOnce) {
  BreakerPolicy p = policy();
  p.slow_call = SlowCallRule{.over = seconds(3), .ratio = 0.6};
  make(p);
  for (int i = 0; i < 10; ++i) call(0.5, 0.05, CallOutcome::ok);
  for (int i = 0; i < 15; ++i) begin(1);
  breaker_->tick(at(3.9), 0);
  for (int i = 0; i < 20; ++i) breaker_->tick(at(4.0), 0);
  EXPECT_EQ(state(), BreakerState::closed);
  breaker_->tick(at(4.1), 0);
  // 15 of 25 is not more than 0.6.
  EXPECT_EQ(state(), BreakerState::closed);
  for (auto& call : calls_) breaker_->end(call, CallOutcome::ok, at(4.5));
  EXPECT_EQ(state(), BreakerState::closed) << "counted again at their end";
  calls_.clear();
  begin(4.5);
  breaker_->tick(at(7.6), 0);
  EXPECT_EQ(state(), BreakerState::open);
  const auto transition = breaker_->take_transition();
  EXPECT_EQ(transition->reason, "slow_call_ratio");
  EXPECT_THAT(transition->message, HasSubstr("16 of 26 calls of the last 10 s took more than 3 s: 61.5 %"));
  breaker_->end(calls_.back(), CallOutcome::ok, at(8));
}

TEST_F(RuleTest, SlowCallsThatEndBetweenTicksCount) {
  BreakerPolicy p = policy();
  p.slow_call = SlowCallRule{.over = seconds(1), .ratio = 0.5};
  make(p);
  for (int i = 0; i < 20; ++i) call(1, 1.05, CallOutcome::ok);
  EXPECT_EQ(state(), BreakerState::open);
}

TEST_F(RuleTest, ANewPolicyKeepsTheEvidence) {
  BreakerPolicy p = policy();
  make(p);
  for (int i = 0; i < 20; ++i) call(1, 0.05, CallOutcome::error);
  EXPECT_EQ(state(), BreakerState::closed);
  p.error_ratio = 0.5;
  breaker_->set_policy(p, seconds(10), at(2));
  breaker_->tick(at(2), 0);
  EXPECT_EQ(state(), BreakerState::open);
}

TEST_F(RuleTest, ANewSlowThresholdAppliesToWhatIsInFlight) {
  BreakerPolicy p = policy();
  make(p);
  for (int i = 0; i < 25; ++i) begin(1);
  breaker_->tick(at(3), 0);
  p.slow_call = SlowCallRule{.over = seconds(1), .ratio = 0.5};
  breaker_->set_policy(p, seconds(10), at(3));
  breaker_->tick(at(3.1), 0);
  EXPECT_EQ(state(), BreakerState::open);
  for (auto& call : calls_) breaker_->end(call, CallOutcome::ok, at(4));
}

TEST_F(RuleTest, WhatFailedBeforeATripDoesNotCountAfterTheClose) {
  BreakerPolicy p = policy();
  p.error_ratio = 0.5;
  p.probes = 1;
  make(p);
  for (int i = 0; i < 30; ++i) begin(0.5);
  for (int i = 0; i < 20; ++i) call(1, 0.05, CallOutcome::error);
  ASSERT_EQ(state(), BreakerState::open);
  breaker_->tick(at(3.5), 0);
  call(3.6, 0.05, CallOutcome::ok);
  ASSERT_EQ(state(), BreakerState::closed);
  for (auto& call : calls_) breaker_->end(call, CallOutcome::timeout, at(5));
  breaker_->tick(at(5), 0);
  EXPECT_EQ(state(), BreakerState::closed);
}

}  // namespace
}  // namespace penstock::decision
