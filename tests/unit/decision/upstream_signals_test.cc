#include "penstock/decision/upstream_signals.h"

#include <gtest/gtest.h>

namespace penstock::decision {
namespace {

using namespace std::chrono_literals;
using std::chrono::milliseconds;

Instant at(double s) { return Instant{} + from_seconds(s); }

class SignalsTest : public testing::Test {
 protected:
  // So many answers a second of this latency, until then.
  void traffic(double rate, Duration latency, double until) {
    for (; now_ < until - 1e-9; now_ += 0.1) {
      credit_ += rate * 0.1;
      const auto calls = static_cast<std::int64_t>(credit_);
      credit_ -= static_cast<double>(calls);
      counts_.attempts += calls;
      counts_.ok += calls;
      counts_.latency += calls * latency;
      counts_.in_flight = static_cast<int>(rate * seconds(latency) + 0.5);
      counts_.mean_age = latency / 2;
      signals_.tick(counts_, false, at(now_));
    }
  }

  UpstreamSignals signals_;
  UpstreamCounts counts_;
  double now_ = 0;
  double credit_ = 0;
};

TEST_F(SignalsTest, ThroughputAndLatencyOfSteadyTraffic) {
  traffic(75, milliseconds(50), 60);
  EXPECT_NEAR(signals_.throughput_fast(), 75, 8);
  EXPECT_NEAR(signals_.throughput_slow(), 75, 3);
  EXPECT_EQ(signals_.latency(), milliseconds(50));
  EXPECT_NEAR(seconds(signals_.usual_latency()), 0.05, 0.001);
  EXPECT_FALSE(signals_.in_trouble());
  EXPECT_NEAR(signals_.usual_in_flight(), 4, 0.1);
}

TEST_F(SignalsTest, CallsThatStayOutAreSeenBeforeTheyEnd) {
  traffic(75, milliseconds(50), 10);
  counts_.in_flight = 30;
  counts_.mean_age = milliseconds(400);
  signals_.tick(counts_, false, at(10));
  EXPECT_EQ(signals_.latency(), milliseconds(400));
  EXPECT_TRUE(signals_.in_trouble());
}

TEST_F(SignalsTest, TroubleDoesNotBecomeUsualForTwoMinutes) {
  traffic(75, milliseconds(50), 20);
  traffic(75, 1s, 130);
  EXPECT_NEAR(seconds(signals_.usual_latency()), 0.05, 0.001);
  traffic(75, 1s, 600);
  EXPECT_GT(signals_.usual_latency(), milliseconds(100));
}

TEST_F(SignalsTest, UsualLatencyFallsFastAndRisesSlowly) {
  traffic(75, milliseconds(50), 20);
  traffic(75, milliseconds(20), 30);
  EXPECT_LT(signals_.usual_latency(), milliseconds(22));
  traffic(75, milliseconds(40), 60);
  EXPECT_LT(signals_.usual_latency(), milliseconds(24));
}

TEST_F(SignalsTest, WhoStartsInTroubleKnowsItFromBetterTimes) {
  signals_.expect(milliseconds(50));
  EXPECT_EQ(signals_.usual_latency(), milliseconds(50));
  traffic(75, 5s, 20);
  EXPECT_TRUE(signals_.in_trouble());
  EXPECT_EQ(signals_.usual_latency(), milliseconds(50));
  // It stays so: what is slow for two minutes becomes usual, but not beyond twice of what is expected.
  traffic(75, 5s, 600);
  EXPECT_TRUE(signals_.in_trouble());
  EXPECT_EQ(signals_.usual_latency(), milliseconds(100));
}

TEST_F(SignalsTest, WithoutThatTroubleIsTakenForUsual) {
  traffic(75, 5s, 20);
  EXPECT_FALSE(signals_.in_trouble());
}

TEST_F(SignalsTest, OwnCallsTellMoreThanWhatIsExpected) {
  signals_.expect(milliseconds(80));
  traffic(75, milliseconds(50), 1);
  EXPECT_EQ(signals_.usual_latency(), milliseconds(80));
  traffic(75, milliseconds(50), 20);
  EXPECT_NEAR(seconds(signals_.usual_latency()), 0.05, 0.001);
}

TEST_F(SignalsTest, AnUpstreamThatIsSlowerEachMinuteIsFound) {
  signals_.expect(milliseconds(50));
  for (int minute = 0; minute < 60; ++minute) traffic(75, milliseconds(50 + 5 * minute), 60.0 * (minute + 1));
  EXPECT_TRUE(signals_.in_trouble());
}

TEST_F(SignalsTest, WhoForgetsWhatIsExpectedGoesOnFromThere) {
  signals_.expect(milliseconds(50));
  traffic(75, 5s, 20);
  signals_.expect({});
  EXPECT_EQ(signals_.usual_latency(), milliseconds(50));
  EXPECT_TRUE(signals_.in_trouble());
  // What was learned within bounds is kept as well.
  signals_.expect(milliseconds(50));
  traffic(75, 5s, 400);
  signals_.expect({});
  EXPECT_EQ(signals_.usual_latency(), milliseconds(100));
  EXPECT_EQ(signals_.expected_latency(), Duration::zero());
}

TEST_F(SignalsTest, ANodeThatHasLearnedTroubleIsCorrected) {
  traffic(75, 5s, 20);
  EXPECT_FALSE(signals_.in_trouble());
  signals_.expect(milliseconds(50));
  EXPECT_TRUE(signals_.in_trouble());
}

TEST_F(SignalsTest, SpansReachFromTickToTick) {
  traffic(100, milliseconds(50), 10);
  const auto span = signals_.between(at(5), at(8));
  EXPECT_NEAR(span.seconds, 3, 1e-6);
  EXPECT_NEAR(static_cast<double>(span.ok), 300, 1);
  EXPECT_EQ(span.mean_latency(), milliseconds(50));
  EXPECT_NEAR(span.in_flight, 5, 1e-6);
  // Farther back than is kept: what is kept.
  EXPECT_NEAR(signals_.since(at(-100)).seconds, 9.9, 1e-6);
  EXPECT_EQ(signals_.since(at(100)).ok, 0);
}

}  // namespace
}  // namespace penstock::decision
