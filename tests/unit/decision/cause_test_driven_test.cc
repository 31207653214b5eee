#include "penstock/decision/cause_test.h"

#include <gtest/gtest.h>

#include <algorithm>

// The test, told counts tick by tick: what it says and does in each state.
namespace penstock::decision {
namespace {

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

// Well at 300 a second. With more than 40 in it, given up or not, it serves 800 / (1 + (n - 40) / 6) a second; a burst
// filled it, and its users wait.
class BurstTest : public DrivenTest {
 protected:
  static constexpr int kWaiting = 1000;

  void step(int burst = 0) {
    const int limit = test_.holds().limit.value_or(15 + burst);
    const int n = overrun_ ? std::max(test_.holds().limit.value_or(kWaiting), 1) : limit;
    if (burst > 0) {
      overrun_ = true;
      given_up_ = burst;
    }
    const double all = n + given_up_;
    const double throughput = std::min(all / 0.05, 800 / (1 + std::max(all - 40, 0.0) / 6));
    given_up_ = std::max(given_up_ - 10, 0.0);
    owed_ += overrun_ ? throughput / 10 * n / all : 30;
    const auto ok = static_cast<int>(owed_);
    owed_ -= ok;
    most_ = std::max(most_, n);
    counts_.attempts += burst > 0 ? 400 : 30;
    counts_.ok += ok;
    counts_.in_flight = n;
    counts_.waiting = overrun_ ? kWaiting : 0;
    counts_.latency += from_seconds(ok * all / throughput);
    counts_.mean_age = from_seconds(all / throughput / 2);
    now_ += 0.1;
    const Instant at = Instant{} + from_seconds(now_);
    context_.wall = from_seconds(now_);
    signals_.tick(counts_, test_.unusual(), at);
    test_.tick(signals_, context_, at);
  }

  bool overrun_ = false;
  double given_up_ = 0;
  double owed_ = 0;
  int most_ = 0;
};

TEST_F(BurstTest, WhatWaitsAfterItComesBackByDegrees) {
  while (now_ < 20) step();
  while (now_ < 30 && test_.holds().state == CauseState::free) step(400);
  ASSERT_EQ(test_.holds().state, CauseState::cut) << "the alarm";
  std::string story;
  most_ = 0;
  while (now_ < 60) {
    step();
    while (const auto decision = test_.take_decision()) story += decision->sentence + "\n";
  }
  EXPECT_LE(most_, 150) << story;
  EXPECT_EQ(test_.holds().verdict, Cause::ours) << story;
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
