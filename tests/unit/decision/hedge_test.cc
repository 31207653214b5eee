#include <gtest/gtest.h>

#include <deque>
#include <limits>
#include <list>
#include <optional>

#include "penstock/decision/upstream_guard.h"

// Calls that are overtaken: they hang while calls that begin now are answered.
namespace penstock::decision {
namespace {

using namespace std::chrono_literals;

class HedgeTest : public testing::Test {
 protected:
  using Call = UpstreamGuard::Call;

  void make(UpstreamPolicy policy = {}, bool guarded = true, bool shadow = false) {
    policy.name = "A";
    guard_.emplace(policy, guarded, shadow, 1);
  }
  UpstreamGuard& guard() { return *guard_; }

  // Ten calls a second; every `hangs`-th is never answered, the others are after `latency`.
  void run(Duration span, Duration latency, int hangs = std::numeric_limits<int>::max()) {
    for (const Instant until = now_ + span; now_ < until; now_ += 100ms) {
      for (auto due = due_.begin(); due != due_.end();) {
        if (due->ends > now_) {
          ++due;
          continue;
        }
        guard().end(due->call, GuardedOutcome::ok, std::nullopt, now_, decided_);
        due = due_.erase(due);
      }
      if (++begun_ % hangs == 0) {
        begin(hanging_.emplace_back());
      } else if (begin(due_.emplace_back(Due{{}, now_ + latency}).call) != UpstreamGuard::Offer::go) {
        due_.pop_back();
      }
      guard().tick({.now = now_, .bulkhead = std::numeric_limits<int>::max()}, decided_);
    }
  }
  UpstreamGuard::Offer begin(Call& call) { return guard().offer(call, now_ + 30s, now_, decided_).offer; }

  struct Due {
    Call call;
    Instant ends;
  };
  std::optional<UpstreamGuard> guard_;
  Verdicts decided_;
  Instant now_{1h};
  int begun_ = 0;
  std::list<Due> due_;
  std::deque<Call> hanging_;
};

TEST_F(HedgeTest, ACallThatHangsWhileOthersAreAnsweredIsOvertaken) {
  make();
  run(20s, 50ms, 10);
  EXPECT_EQ(guard().overtaken_from(), UpstreamGuard::kFirstHedge);
  EXPECT_FALSE(guard().try_hedge(900ms, now_));
  EXPECT_TRUE(guard().try_hedge(1s, now_));
}

TEST_F(HedgeTest, ItNeedsAsManyTimesTheLatencyThatIsUsual) {
  make();
  run(30s, 600ms, 20);
  EXPECT_GE(guard().overtaken_from(), 4s);
  EXPECT_LE(guard().overtaken_from(), 6s);
}

TEST_F(HedgeTest, WhereAllAreSlowNoneIs) {
  make();
  run(20s, 50ms);
  run(4s, 5s);
  EXPECT_EQ(guard().overtaken_from(), Duration::max());
  EXPECT_FALSE(guard().try_hedge(4s, now_));
}

TEST_F(HedgeTest, WhatHungIsOvertakenOnceTheTroubleIsOver) {
  UpstreamPolicy policy;
  policy.limit.knee_test = KneeTest::off;
  make(policy);
  run(20s, 50ms);
  run(4s, 8s);
  ASSERT_EQ(guard().overtaken_from(), Duration::max());
  const Instant over = now_;
  while (guard().overtaken_from() == Duration::max() && now_ < over + 4s) run(100ms, 50ms);
  EXPECT_LE(now_ - over, 3s);
  EXPECT_TRUE(guard().try_hedge(6s, now_));
}

TEST_F(HedgeTest, MostThatHangAreNotCuredByMoreCalls) {
  make();
  // Seven of ten.
  for (int i = 0; i < 20; ++i) {
    run(300ms, 50ms);
    run(700ms, 20s);
  }
  EXPECT_EQ(guard().overtaken_from(), Duration::max());
}

TEST_F(HedgeTest, TheRetryBudgetBoundsIt) {
  make();
  run(20s, 50ms, 10);
  int granted = 0;
  while (granted < 100 && guard().try_hedge(2s, now_)) ++granted;
  EXPECT_GE(granted, 10) << "one a second";
  EXPECT_LE(granted, 21) << "and a tenth of the calls";
  guard().retry_succeeded(now_);
  EXPECT_TRUE(guard().try_hedge(2s, now_)) << "what helps pays for more";
}

TEST_F(HedgeTest, NothingIsWithoutABudgetOrWhereThePolicySaysSo) {
  make({.retry_budget = 0});
  run(20s, 50ms, 10);
  EXPECT_FALSE(guard().try_hedge(2s, now_));
  make({.hedge = false});
  run(20s, 50ms, 10);
  EXPECT_FALSE(guard().try_hedge(2s, now_));
}

TEST_F(HedgeTest, NothingIsInTheShadowOrWhereThePolicyNamesNoUpstream) {
  make({}, true, true);
  run(20s, 50ms, 10);
  EXPECT_FALSE(guard().try_hedge(2s, now_));
  make({}, false);
  run(20s, 50ms, 10);
  EXPECT_FALSE(guard().try_hedge(2s, now_));
}

TEST_F(HedgeTest, NothingIsWhileCallsAreHeldBack) {
  make();
  run(20s, 50ms, 10);
  guard().set_directive(100, now_, decided_, true, true);
  run(1s, 50ms);
  EXPECT_FALSE(guard().try_hedge(2s, now_));
  guard().set_directive(std::nullopt, now_, decided_, true, true);
  run(1s, 50ms);
  EXPECT_TRUE(guard().try_hedge(2s, now_));
  guard().trip("by hand", now_, decided_);
  run(100ms, 50ms);
  EXPECT_FALSE(guard().try_hedge(2s, now_));
}

}  // namespace
}  // namespace penstock::decision
