#include <gtest/gtest.h>

#include "controller/simulate/rivals/aimd.h"
#include "controller/simulate/rivals/gradient2.h"
#include "controller/simulate/rivals/vegas.h"
#include "tests/unit/controller/simulate/rivals/station.h"
#include "tests/unit/controller/simulate/rivals/steps.h"

namespace penstock::simulate {
namespace {

TEST(Netflix, LogarithmOfALimit) {
  EXPECT_EQ(netflix_log10(1), 1);
  EXPECT_EQ(netflix_log10(9), 1);
  EXPECT_EQ(netflix_log10(99), 1);
  EXPECT_EQ(netflix_log10(100), 2);
  EXPECT_EQ(netflix_log10(999), 2);
  EXPECT_EQ(netflix_log10(1000), 3);
}

TEST(Netflix, RefusesWhenAsManyAreInFlightAsTheLimit) {
  Vegas vegas({}, 1);
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(let_in(vegas, 0));
  EXPECT_FALSE(let_in(vegas, 0));
  end(vegas, {.from = 0, .to = 0.1, .fate = Fate::cancelled});
  EXPECT_TRUE(let_in(vegas, 0.2));
}

TEST(Vegas, WorkedExample) {
  Vegas vegas({}, 1);
  auto step = [&, now = 0.0](double rtt, int besides, Fate fate = Fate::ok) mutable {
    now += 10;
    EXPECT_TRUE(pass(vegas, {.from = now, .to = now + rtt, .besides = besides, .fate = fate}));
    return *vegas.limit();
  };
  // The first is the shortest.
  EXPECT_EQ(step(0.100, 19), 20);
  // Queue ceil(20 * 0) = 0 <= 1: up by beta = 6.
  EXPECT_EQ(step(0.100, 19), 26);
  // ceil(26 * (1 - 100 / 110)) = ceil(2.36) = 3, within [alpha, beta] = [3, 6].
  EXPECT_EQ(step(0.110, 19), 26);
  // ceil(26 * (1 - 100 / 108)) = ceil(1.93) = 2 < 3: up by 1.
  EXPECT_EQ(step(0.108, 19), 27);
  // ceil(27 * (1 - 100 / 160)) = ceil(10.1) = 11 > 6: down by 1.
  EXPECT_EQ(step(0.160, 19), 26);
  EXPECT_EQ(step(0.160, 19, Fate::timeout), 25);
  EXPECT_EQ(step(0.160, 19, Fate::refused), 24);
  // Of 24 only 11 in use.
  EXPECT_EQ(step(0.100, 10), 24);
  EXPECT_EQ(step(0.001, 19, Fate::error), 24);
  EXPECT_EQ(step(0.001, 19, Fate::cancelled), 24);
  // A new shortest changes nothing by itself: ceil(24 * (1 - 50 / 100)) = 12 > 6 does.
  EXPECT_EQ(step(0.050, 19), 24);
  EXPECT_EQ(step(0.100, 19), 23);
}

TEST(Vegas, TakesTheTimeAtHandForTheShortestOnceInAWhile) {
  Vegas vegas({}, 1);
  EXPECT_TRUE(pass(vegas, {.from = 0, .to = 0.1}));
  // Less than half in use: nothing moves but the counter. At most 30 * 20 samples later 0.3 s is the shortest.
  for (int i = 1; i <= 600; ++i) pass(vegas, {.from = i * 1.0, .to = i + 0.3});
  EXPECT_EQ(*vegas.limit(), 20);
  EXPECT_TRUE(pass(vegas, {.from = 700, .to = 700.3, .besides = 19}));
  EXPECT_EQ(*vegas.limit(), 26);
}

// Ten samples of a second that follows the last, and what then is the limit.
class Windows {
 public:
  explicit Windows(Limiter& limiter) : limiter_(limiter) { add(0.01, 0); }
  double window(double rtt, int besides = 199) {
    for (int i = 0; i < 9; ++i) add(now_ + 0.5, besides, rtt);
    now_ += 1.01;
    add(now_, besides, rtt);
    return *limiter_.limit();
  }

 private:
  void add(double end_at, int besides, double rtt = 0.001) {
    EXPECT_TRUE(let_in(limiter_, end_at - rtt));
    end(limiter_, {.from = end_at - rtt, .to = end_at, .besides = besides});
  }
  Limiter& limiter_;
  double now_ = 0.01;
};

TEST(Gradient2, WorkedExampleWithTheDefaults) {
  Gradient2 gradient({});
  Windows windows(gradient);
  // 0.8 * 20 + 0.2 * (20 + 4) = 20.8; 21.6; 22.4.
  EXPECT_EQ(windows.window(0.1), 20);
  EXPECT_EQ(windows.window(0.1), 21);
  EXPECT_EQ(windows.window(0.1), 22);
}

TEST(Gradient2, WorkedExampleWithoutSmoothing) {
  Gradient2 gradient({.min = 1, .smoothing = 1});
  Windows windows(gradient);
  EXPECT_EQ(windows.window(0.1), 24);
  EXPECT_EQ(windows.window(0.1), 28);
  // Long term 0.5 / 3; gradient 1.5 * 0.1667 / 0.3 = 0.8333; 28 * 0.8333 + 4 = 27.33.
  EXPECT_EQ(windows.window(0.3), 27);
  // Long term 1.5 / 4; gradient 0.5625; 27.33 * 0.5625 + 4 = 19.375.
  EXPECT_EQ(windows.window(1.0), 19);
  // Long term 3.5 / 5; gradient 0.525; 19.375 * 0.525 + 4 = 14.17.
  EXPECT_EQ(windows.window(2.0), 14);
  // Less than half in use.
  EXPECT_EQ(windows.window(0.1, 5), 14);
  EXPECT_EQ(windows.window(0.1), 18);
}

TEST(Gradient2, HalvesAtMost) {
  Gradient2 gradient({.initial = 100, .min = 1, .smoothing = 1});
  Windows windows(gradient);
  for (int i = 0; i < 20; ++i) windows.window(0.01);
  EXPECT_EQ(*gradient.limit(), 180);
  EXPECT_EQ(windows.window(3), 94);
}

TEST(Gradient2, IgnoresWindowsOfFewerThanTenSamples) {
  Gradient2 gradient({});
  for (int i = 0; i < 100; ++i) pass(gradient, {.from = i * 0.5, .to = i * 0.5 + 0.2, .besides = 199});
  EXPECT_EQ(*gradient.limit(), 20);
}

TEST(Gradient2, GetsUsedToATimeInTenMinutes) {
  Gradient2 gradient({.initial = 100, .max = 1000});
  Windows windows(gradient);
  for (int i = 0; i < 20; ++i) windows.window(0.1, 999);
  const double before = *gradient.limit();
  for (int i = 0; i < 60; ++i) windows.window(0.4, 999);
  EXPECT_LT(*gradient.limit(), before / 3);
  for (int i = 0; i < 1200; ++i) windows.window(0.4, 999);
  EXPECT_GT(*gradient.limit(), before);
}

TEST(Aimd, WorkedExample) {
  Aimd aimd({.min = 1});
  auto step = [&, now = 0.0](double rtt, int besides, Fate fate = Fate::ok) mutable {
    now += 100;
    EXPECT_TRUE(pass(aimd, {.from = now, .to = now + rtt, .besides = besides, .fate = fate}));
    return *aimd.limit();
  };
  EXPECT_EQ(step(0.1, 9), 21);
  EXPECT_EQ(step(0.1, 9), 21);
  EXPECT_EQ(step(0.1, 10), 22);
  // 19.8, 17.1, 15.3.
  EXPECT_EQ(step(0.1, 10, Fate::timeout), 19);
  EXPECT_EQ(step(5.1, 10), 17);
  EXPECT_EQ(step(0.1, 10, Fate::refused), 15);
  EXPECT_EQ(step(0.1, 10, Fate::error), 15);
}

TEST(Aimd, StaysWithinItsBounds) {
  Aimd aimd({});
  for (int i = 0; i < 100; ++i) pass(aimd, {.from = 1.0 * i, .to = i + 0.1, .fate = Fate::timeout});
  EXPECT_EQ(*aimd.limit(), 20);
  for (int i = 0; i < 1000; ++i) pass(aimd, {.from = 200.0 + i, .to = 200.1 + i, .besides = 199});
  EXPECT_EQ(*aimd.limit(), 200);
}

// 20 servers of 100 ms: 200 a second, of which the limiter is offered twice as many.
const Station kQueue{.servers = 20, .service = 0.1, .sigma = 0.01};

TEST(Vegas, FindsTheKneeOfAQueue) {
  Vegas vegas({}, 1);
  const Driven driven = drive(vegas, kQueue, 400, 300);
  EXPECT_GT(driven.throughput, 165);
  EXPECT_LT(driven.limit, 45);
  EXPECT_LT(driven.latency, 0.25);
}

TEST(Gradient2, BoundsAQueueByItsTolerance) {
  Gradient2 gradient({});
  const Driven driven = drive(gradient, kQueue, 400, 300);
  EXPECT_GT(driven.throughput, 190);
  // The long-term time gets used to the queue, and the limit creeps up with it.
  EXPECT_LE(driven.limit, 200);
}

TEST(Aimd, SeesNoQueueThatIsShorterThanItsTimeout) {
  Aimd aimd({});
  const Driven driven = drive(aimd, kQueue, 400, 300);
  EXPECT_NEAR(driven.limit, 200, 1);
  EXPECT_NEAR(driven.latency, 1.0, 0.1);
}

// 100 in flight at a time that does not depend on how many they are.
const Station kUnlimited{.servers = 0, .service = 0.1, .sigma = 0};

TEST(Netflix, DoNotShrinkAtAConstantTime) {
  Vegas vegas({}, 1);
  EXPECT_GT(drive(vegas, kUnlimited, 1000, 300).throughput, 990);
  Aimd aimd({});
  EXPECT_GT(drive(aimd, kUnlimited, 1000, 300).throughput, 990);
  // 0.8 a second from 20 on.
  Gradient2 gradient({});
  const Driven driven = drive(gradient, kUnlimited, 1000, 600);
  EXPECT_GT(driven.limit, 195);
  EXPECT_GT(driven.throughput, 990);
}

// Without a window, the shortest of many times is far below the others, which looks like a queue.
TEST(Vegas, TakesASpreadOfTimesForAQueue) {
  Vegas vegas({}, 1);
  EXPECT_LT(drive(vegas, {.servers = 0, .service = 0.1, .sigma = 0.1}, 1000, 300).throughput, 300);
  Vegas windowed({.windowed = true}, 1);
  EXPECT_GT(drive(windowed, {.servers = 0, .service = 0.1, .sigma = 0.1}, 1000, 300).throughput, 950);
}

}  // namespace
}  // namespace penstock::simulate
