#include <gtest/gtest.h>

#include "controller/simulate/rivals/failsafe_adaptive.h"
#include "controller/simulate/rivals/failsafe_queue.h"
#include "tests/unit/controller/simulate/rivals/station.h"
#include "tests/unit/controller/simulate/rivals/steps.h"

namespace penstock::simulate {
namespace {

// Three samples, and the limit after them.
class Windows {
 public:
  explicit Windows(FailsafeAdaptive& limiter) : limiter_(limiter) {}
  double window(double rtt, int besides = 9) {
    now_ += 100;
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(pass(limiter_, {.from = now_, .to = now_ + rtt, .besides = besides}));
    return *limiter_.limit();
  }

 private:
  FailsafeAdaptive& limiter_;
  double now_ = 0;
};

TEST(FailsafeAdaptive, WorkedExample) {
  FailsafeAdaptive limiter({.window_samples = 3});
  Windows windows(limiter);
  EXPECT_EQ(windows.window(0.1), 21);
  EXPECT_EQ(windows.window(0.1), 22);
  // Recent (0.1 + 0.1 + 0.4) / 3 = 0.2, baseline (0.1 + 0.1 + 0.2) / 3 = 0.1333: queue ceil(22 / 3) = 8 > 6.
  EXPECT_EQ(windows.window(0.4), 21);
  // 0.25 and 0.1625: ceil(21 * 0.35) = 8.
  EXPECT_EQ(windows.window(0.4), 20);
  // The median of five begins, and is 0.4. 0.28 and 0.186: ceil(6.71) = 7.
  EXPECT_EQ(windows.window(0.4), 19);
  // Still 0.4. 0.3 and 0.205: ceil(6.02) = 7.
  EXPECT_EQ(windows.window(0.1), 18);
  // Still 0.4. 0.3143 and 0.2206: ceil(5.36) = 6, within [3, 6].
  EXPECT_EQ(windows.window(0.1), 18);
  // 18 + 1 is more than five times what was in flight.
  EXPECT_EQ(windows.window(0.1, 1), 17);
}

TEST(FailsafeAdaptive, TimeoutsAndCancellationsAreNoSamples) {
  FailsafeAdaptive limiter({.window_samples = 3});
  for (int i = 1; i < 100; ++i) {
    pass(limiter, {.from = i * 10.0, .to = i * 10.0 + 5, .fate = i % 2 == 0 ? Fate::timeout : Fate::cancelled});
  }
  EXPECT_EQ(*limiter.limit(), 20);
}

TEST(FailsafeAdaptive, FindsTheKneeOfAQueue) {
  FailsafeAdaptive limiter({});
  const Driven driven = drive(limiter, {.servers = 20, .service = 0.1}, 400, 600);
  EXPECT_GT(driven.throughput, 170);
  EXPECT_LT(driven.limit, 100);
}

TEST(FailsafeAdaptive, DoesNotShrinkAtAConstantTime) {
  FailsafeAdaptive limiter({});
  const Driven driven = drive(limiter, {.service = 0.1}, 1000, 600);
  EXPECT_GT(driven.limit, 120);
  EXPECT_GT(driven.throughput, 950);
}

TEST(FailsafeQueue, RefusesAShareThatGrowsFromTwoToThreeLimits) {
  const auto share = [](int waiting) {
    return FailsafeQueue::share({.waiting = waiting, .in_flight = 10, .limit = 10, .last_empty = {}});
  };
  EXPECT_EQ(share(19), 0);
  EXPECT_EQ(share(20), 0);
  EXPECT_DOUBLE_EQ(share(25), 0.5);
  EXPECT_DOUBLE_EQ(share(29), 0.9);
  EXPECT_EQ(share(30), 1);
}

TEST(FailsafeQueue, RefusesNothingWhileThereAreFreePlaces) {
  FailsafeQueue queue;
  const Arrival arrival{.now = {}, .in_flight = 9, .priority = decision::Priority::normal, .chance = 0.1};
  EXPECT_FALSE(queue.refuses(arrival, {.waiting = 100, .in_flight = 9, .limit = 10, .last_empty = {}}));
  EXPECT_TRUE(queue.refuses(arrival, {.waiting = 100, .in_flight = 10, .limit = 10, .last_empty = {}}));
}

}  // namespace
}  // namespace penstock::simulate
