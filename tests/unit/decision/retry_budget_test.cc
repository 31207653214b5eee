#include "penstock/decision/retry_budget.h"

#include <gtest/gtest.h>

namespace penstock::decision {
namespace {

Instant at(double s) { return Instant{} + from_seconds(s); }

int retries(RetryBudget& budget, Instant now) {
  int n = 0;
  while (n < 100000 && budget.try_retry(now)) ++n;
  return n;
}

TEST(RetryBudget, GrantsItsShareOfTheCallsOfTenSecondsAndOneASecond) {
  RetryBudget budget(0.1);
  for (int i = 0; i < 1000; ++i) budget.call(at(100 + i * 0.009));
  EXPECT_EQ(retries(budget, at(109)), 100 + 10);
  EXPECT_FALSE(budget.try_retry(at(109.5)));
}

TEST(RetryBudget, ForgetsAfterTenSeconds) {
  RetryBudget budget(0.1);
  for (int i = 0; i < 1000; ++i) budget.call(at(100));
  EXPECT_EQ(retries(budget, at(100)), 110);
  EXPECT_EQ(retries(budget, at(109.9)), 0);
  EXPECT_EQ(retries(budget, at(110)), 10);
}

TEST(RetryBudget, OfZeroGrantsNone) {
  RetryBudget budget(0);
  for (int i = 0; i < 1000; ++i) budget.call(at(100));
  EXPECT_FALSE(budget.try_retry(at(100)));
}

TEST(RetryBudget, FollowsItsRatio) {
  RetryBudget budget(0);
  for (int i = 0; i < 100; ++i) budget.call(at(100));
  budget.set_ratio(1);
  EXPECT_EQ(retries(budget, at(100)), 110);
}

TEST(RetryBudget, SurvivesALongLull) {
  RetryBudget budget(0.5);
  budget.call(at(1));
  EXPECT_EQ(retries(budget, at(1e6)), 10);
}

TEST(RetryBudget, RetriesThatSucceedPayForMoreWhileTheUpstreamIsWell) {
  // A hundred calls a second of which half fail; each is tried once more, with the same chance.
  for (const bool well : {true, false}) {
    RetryBudget budget(0.1);
    int refused = 0;
    for (int i = 0; i < 3000; ++i) {
      const Instant now = at(i * 0.01);
      budget.call(now);
      if (i % 2 == 0) continue;
      if (!budget.try_retry(now, well)) {
        refused += i >= 2000;
      } else if (i % 4 == 1) {
        budget.succeeded(now);
      }
    }
    if (well) {
      EXPECT_EQ(refused, 0);
    } else {
      EXPECT_GT(refused, 350);
    }
  }
}

TEST(RetryBudget, RetriesThatFailPayForNothing) {
  RetryBudget budget(0.1);
  for (int i = 0; i < 1000; ++i) budget.call(at(100 + i * 0.009));
  int allowed = 0;
  while (allowed < 10000 && budget.try_retry(at(109), true)) {
    if (++allowed % 4 == 0) budget.succeeded(at(109));
  }
  EXPECT_LT(allowed, 3 * 110);
}

}  // namespace
}  // namespace penstock::decision
