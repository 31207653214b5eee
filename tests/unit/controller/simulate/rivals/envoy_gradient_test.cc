#include "controller/simulate/rivals/envoy_gradient.h"

#include <gtest/gtest.h>

#include "tests/unit/controller/simulate/rivals/station.h"
#include "tests/unit/controller/simulate/rivals/steps.h"

namespace penstock::simulate {
namespace {

const Load kLoad{};

// Three samples of an interval, and the limit at its end.
class Intervals {
 public:
  explicit Intervals(Limiter& limiter) : limiter_(limiter) {}
  double interval(double rtt) {
    for (int i = 0; i < 3; ++i) {
      EXPECT_TRUE(let_in(limiter_, now_));
      end(limiter_, {.from = now_, .to = now_ + rtt});
    }
    now_ += 10;
    limiter_.tick(at(now_), kLoad);
    return *limiter_.limit();
  }
  double now() const { return now_; }

 private:
  Limiter& limiter_;
  double now_ = 1;
};

TEST(EnvoyGradient, WorkedExample) {
  EnvoyGradient envoy({.request_count = 3, .ideal_interval = std::chrono::hours(1)}, 1);
  Intervals intervals(envoy);
  // The first three make the ideal time of 100 ms, at the limit of 3.
  EXPECT_EQ(intervals.interval(0.1), 3);
  // gradient 1.25: 3.75 + sqrt(3.75) = 5.69.
  EXPECT_EQ(intervals.interval(0.1), 5);
  // 6.25 + 2.5 = 8.75.
  EXPECT_EQ(intervals.interval(0.1), 8);
  // gradient 0.625: 5 + 2.24.
  EXPECT_EQ(intervals.interval(0.2), 7);
  // gradient 2, not 12.5: 14 + 3.74.
  EXPECT_EQ(intervals.interval(0.01), 17);
  // gradient 0.5, not 0.125: 8.5 + 2.92; 5.5 + 2.35; 3.5 + 1.87; 2.5 + 1.58; 2 + 1.41; 1.5 + 1.22 -> 3.
  EXPECT_EQ(intervals.interval(1), 11);
  EXPECT_EQ(intervals.interval(1), 7);
  EXPECT_EQ(intervals.interval(1), 5);
  EXPECT_EQ(intervals.interval(1), 4);
  EXPECT_EQ(intervals.interval(1), 3);
}

TEST(EnvoyGradient, MeasuresItsIdealAnewAfterFiveMinimaInARow) {
  EnvoyGradient envoy({.request_count = 3, .ideal_interval = std::chrono::hours(1)}, 1);
  Intervals intervals(envoy);
  intervals.interval(0.1);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(intervals.interval(1), 3) << i;
  EXPECT_TRUE(envoy.measuring_ideal());
  // The time of the trouble is now the ideal one.
  EXPECT_EQ(intervals.interval(1), 3);
  EXPECT_FALSE(envoy.measuring_ideal());
  EXPECT_EQ(intervals.interval(1), 5);
}

TEST(EnvoyGradient, PinsTheLimitOnceAMinute) {
  EnvoyGradient envoy({.request_count = 3, .jitter = 0}, 1);
  Intervals intervals(envoy);
  for (int i = 0; i < 6; ++i) intervals.interval(0.1);
  const double limit = *envoy.limit();
  EXPECT_GT(limit, 10);
  intervals.interval(0.1);
  EXPECT_TRUE(envoy.measuring_ideal());
  EXPECT_EQ(*envoy.limit(), 3);
  // Comes back to where it was.
  intervals.interval(0.1);
  EXPECT_FALSE(envoy.measuring_ideal());
  EXPECT_GE(*envoy.limit(), limit);
}

TEST(EnvoyGradient, DoesNotPinWithALeastLimitOfItsOwn) {
  EnvoyGradient envoy({.request_count = 3, .jitter = 0, .min_limit = 25}, 1);
  Intervals intervals(envoy);
  for (int i = 0; i < 30; ++i) EXPECT_GE(intervals.interval(0.1), 25);
}

TEST(EnvoyGradient, TakesTheMiddleOfItsSamplesAndNoneThatTheClientCancelled) {
  EnvoyGradient envoy({.request_count = 3, .ideal_interval = std::chrono::hours(1)}, 1);
  Intervals(envoy).interval(0.1);
  const double times[] = {0.1, 0.1, 9};
  for (const double time : times) pass(envoy, {.from = 20, .to = 20 + time});
  pass(envoy, {.from = 20, .to = 29, .fate = Fate::cancelled});
  pass(envoy, {.from = 20, .to = 29, .fate = Fate::cancelled});
  envoy.tick(at(30), kLoad);
  EXPECT_EQ(*envoy.limit(), 5);
}

TEST(EnvoyGradient, FindsTheKneeOfAQueue) {
  EnvoyGradient envoy({}, 1);
  const Driven driven = drive(envoy, {.servers = 20, .service = 0.1}, 400, 300);
  EXPECT_GT(driven.throughput, 180);
  EXPECT_LT(driven.latency, 0.2);
}

TEST(EnvoyGradient, DoesNotShrinkAtAConstantTime) {
  EnvoyGradient envoy({}, 1);
  const Driven driven = drive(envoy, {.service = 0.1}, 1000, 300);
  EXPECT_GT(driven.limit, 800);
  // What it costs to measure at a limit of 3: 50 answers at 30 a second, once a minute.
  EXPECT_LT(driven.throughput, 985);
  EXPECT_GT(driven.throughput, 950);
}

}  // namespace
}  // namespace penstock::simulate
