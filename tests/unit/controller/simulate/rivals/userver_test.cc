#include <gtest/gtest.h>

#include "controller/simulate/rivals/userver_linear.h"
#include "controller/simulate/rivals/userver_rps.h"
#include "tests/unit/controller/simulate/rivals/station.h"
#include "tests/unit/controller/simulate/rivals/steps.h"

namespace penstock::simulate {
namespace {

TEST(UserverRps, WorkedExample) {
  UserverRps limiter({});
  // More than two a second, in four seconds: overloaded.
  for (int i = 0; i < 3; ++i) limiter.feed({.rate = 400, .overloads = 5});
  EXPECT_FALSE(limiter.overloaded());
  limiter.feed({.rate = 400, .overloads = 5});
  EXPECT_TRUE(limiter.overloaded());
  EXPECT_FALSE(limiter.limit());
  // 400 * 0.75; 294; 288.12.
  limiter.feed({.rate = 400, .overloads = 5});
  EXPECT_EQ(*limiter.limit(), 300);
  limiter.feed({.rate = 400, .overloads = 5});
  EXPECT_EQ(*limiter.limit(), 294);
  limiter.feed({.rate = 400, .overloads = 2});
  EXPECT_EQ(*limiter.limit(), 288);
  // One overload a second is none any more. It holds for four seconds, and then grows: 288 * 1.02 = 293.8; 299.9.
  for (int i = 0; i < 4; ++i) {
    EXPECT_TRUE(limiter.overloaded());
    limiter.feed({.rate = 300, .overloads = 1});
  }
  EXPECT_FALSE(limiter.overloaded());
  EXPECT_EQ(*limiter.limit(), 288);
  limiter.feed({.rate = 300, .overloads = 1});
  EXPECT_EQ(*limiter.limit(), 294);
  limiter.feed({.rate = 300, .overloads = 0});
  EXPECT_EQ(*limiter.limit(), 300);
}

TEST(UserverRps, RisesByOneTwoFourWhereAnOverloadCameBetween) {
  UserverRps limiter({});
  for (int i = 0; i < 5; ++i) limiter.feed({.rate = 4000, .overloads = 50});
  for (int i = 0; i < 4; ++i) limiter.feed({.rate = 4000, .overloads = 0});
  EXPECT_EQ(*limiter.limit(), 3000);
  limiter.feed({.rate = 4000, .overloads = 50});
  EXPECT_EQ(*limiter.limit(), 3000);
  // The delta begins at 1 and doubles before it is used: 2, 4.
  limiter.feed({.rate = 4000, .overloads = 0});
  EXPECT_EQ(*limiter.limit(), 3002);
  limiter.feed({.rate = 4000, .overloads = 0});
  EXPECT_EQ(*limiter.limit(), 3006);
}

TEST(UserverRps, NeitherBelowItsMinimumNorForEver) {
  UserverRps limiter({});
  for (int i = 0; i < 300; ++i) limiter.feed({.rate = 400, .overloads = 5});
  EXPECT_EQ(*limiter.limit(), 10);
  for (int i = 0; i < 1000; ++i) limiter.feed({.rate = 400, .overloads = 0});
  EXPECT_TRUE(limiter.limit());
  limiter.feed({.rate = 400, .overloads = 0});
  EXPECT_FALSE(limiter.limit());
}

TEST(UserverRps, LetsInSoManyASecond) {
  UserverRps limiter({});
  // Run delays of 10 ms on average: three quarters of the tasks waited over 3 ms.
  const Load busy{.cpu_busy = 1, .runnable_per_core = 9, .run_delay = std::chrono::milliseconds(10)};
  int let = 0;
  double now = 0;
  for (int second = 0; second < 20; ++second) {
    let = 0;
    for (int tick = 0; tick < 10; ++tick) {
      for (int i = 0; i < 40; ++i) {
        now += 0.0025;
        if (pass(limiter, {.from = now, .to = now})) ++let;
      }
      limiter.tick(at(now), busy);
    }
  }
  EXPECT_LT(let, 300);
  EXPECT_NEAR(let, *limiter.limit() / 0.98, 8);
}

TEST(UserverRps, AnIdleCpuIsNoOverload) {
  UserverRps limiter({});
  drive(limiter, {.service = 5}, 1000, 60);
  EXPECT_FALSE(limiter.limit());
}

// So many seconds of 100 calls of 100 ms.
void get_used(UserverLinear& limiter, int seconds, std::int64_t in_flight) {
  for (int i = 0; i < seconds; ++i) {
    limiter.feed({.total = 100, .timeouts = 0, .mean_millis = 100, .in_flight = in_flight});
  }
}

TEST(UserverLinear, WorkedExampleWithTimeouts) {
  UserverLinear limiter({});
  get_used(limiter, 30, 60);
  limiter.feed({.total = 100, .timeouts = 5, .mean_millis = 100, .in_flight = 60});
  EXPECT_FALSE(limiter.limit());
  limiter.feed({.total = 100, .timeouts = 6, .mean_millis = 100, .in_flight = 60});
  EXPECT_EQ(*limiter.limit(), 60);
  // 57; 54.15.
  limiter.feed({.total = 100, .timeouts = 6, .mean_millis = 100, .in_flight = 57});
  EXPECT_EQ(*limiter.limit(), 57);
  limiter.feed({.total = 100, .timeouts = 6, .mean_millis = 100, .in_flight = 54});
  EXPECT_EQ(*limiter.limit(), 54);
  limiter.feed({.total = 100, .timeouts = 0, .mean_millis = 100, .in_flight = 54});
  EXPECT_EQ(*limiter.limit(), 55);
  // Mean of three seconds (54 + 54 + 30) / 3 = 46, then 38: 56 is not over 46 + 10, but over 38 + 10.
  limiter.feed({.total = 100, .timeouts = 0, .mean_millis = 100, .in_flight = 30});
  EXPECT_EQ(*limiter.limit(), 56);
  limiter.feed({.total = 100, .timeouts = 0, .mean_millis = 100, .in_flight = 30});
  EXPECT_FALSE(limiter.limit());
}

TEST(UserverLinear, WorkedExampleWithSlowness) {
  UserverLinear limiter({});
  get_used(limiter, 30, 60);
  // Means of three seconds: 466, 833 > 5 * 112, the mean of thirty having learnt the first.
  limiter.feed({.total = 100, .timeouts = 0, .mean_millis = 1200, .in_flight = 60});
  EXPECT_FALSE(limiter.limit());
  limiter.feed({.total = 100, .timeouts = 0, .mean_millis = 1200, .in_flight = 60});
  EXPECT_EQ(*limiter.limit(), 60);
}

TEST(UserverLinear, NeverBelowTen) {
  UserverLinear limiter({});
  get_used(limiter, 30, 60);
  for (int i = 0; i < 100; ++i) limiter.feed({.total = 100, .timeouts = 100, .mean_millis = 100, .in_flight = 10});
  EXPECT_EQ(*limiter.limit(), 10);
}

TEST(UserverLinear, DoesNothingAtAConstantTime) {
  UserverLinear limiter({});
  const Driven driven = drive(limiter, {.service = 0.1}, 1000, 120);
  EXPECT_GT(driven.throughput, 980);
  EXPECT_EQ(driven.limit, 0);
}

}  // namespace
}  // namespace penstock::simulate
