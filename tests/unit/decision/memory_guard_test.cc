#include "penstock/decision/memory_guard.h"

#include <gtest/gtest.h>

namespace penstock::decision {
namespace {

constexpr std::int64_t kMiB = 1 << 20;

MemoryState used(std::int64_t mib) { return {.used = mib * kMiB, .base = 10 * kMiB, .limit = 100 * kMiB}; }

TEST(MemoryGuard, WithoutALimitNothingIsRefused) {
  MemoryGuard guard;
  EXPECT_FALSE(guard.tick({.used = 1 << 30}, 100'000));
}

TEST(MemoryGuard, LetsNoMoreInThanThereWereWhenTheReserveWasReached) {
  MemoryGuard guard;
  EXPECT_FALSE(guard.tick(used(89), 400));
  EXPECT_TRUE(guard.tick(used(90), 500));
  EXPECT_TRUE(guard.tick(used(90), 500));
  EXPECT_FALSE(guard.tick(used(90), 499));
}

TEST(MemoryGuard, LetsFewerInWhileMemoryGoesOnGrowing) {
  MemoryGuard guard;
  guard.tick(used(90), 500);
  for (int mib = 91; mib < 97; ++mib) guard.tick(used(mib), 500);
  ASSERT_TRUE(guard.most());
  EXPECT_LT(*guard.most(), 450);
  EXPECT_TRUE(guard.tick(used(96), 450));
}

TEST(MemoryGuard, MemoryThatNeverFallsAgainStopsNothingElse) {
  MemoryGuard guard;
  guard.tick(used(92), 500);
  for (int i = 0; i < 1000; ++i) EXPECT_FALSE(guard.tick(used(92), i % 400));
}

TEST(MemoryGuard, GivesWayStepByStepAndEndsWhenRelieved) {
  MemoryGuard guard;
  guard.tick(used(90), 500);
  int ticks = 0;
  while (guard.tick(used(85), 700)) ++ticks;
  EXPECT_GT(ticks, 5);
  EXPECT_LT(ticks, 100);
  EXPECT_FALSE(guard.tick(used(80), 10'000));
  EXPECT_FALSE(guard.most());
}

TEST(MemoryGuard, ALimitBelowWhatTheProcessNeedsByItselfLetsAFewIn) {
  MemoryGuard guard;
  EXPECT_FALSE(guard.tick(used(150), 0));
  EXPECT_FALSE(guard.tick(used(151), 15));
  EXPECT_TRUE(guard.tick(used(152), 16));
}

}  // namespace
}  // namespace penstock::decision
