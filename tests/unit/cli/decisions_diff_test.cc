#include "cli/decisions_diff.h"

#include <gtest/gtest.h>

namespace penstock::cli {
namespace {

v1::Decision pool(int second, int limit, bool shadow, const std::string& node = "a") {
  v1::Decision decision;
  decision.mutable_time()->set_seconds(second);
  decision.set_kind("pool");
  decision.set_name("default");
  decision.set_service("shop");
  decision.set_node(node);
  decision.set_action("resize");
  decision.set_shadow(shadow);
  decision.set_policy(shadow ? "shop-next" : "shop");
  (*decision.mutable_evidence()->mutable_fields())["result"].set_number_value(limit);
  return decision;
}

TEST(DecisionsDiff, TellsWhatDiffersAndSinceWhen) {
  int compared = 0;
  const auto found = disagreements({pool(1, 100, false), pool(1, 100, true), pool(5, 200, false), pool(7, 150, true),
                                    pool(1, 64, false, "b"), pool(2, 64, true, "b")},
                                   compared);
  EXPECT_EQ(compared, 2);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].node, "a");
  EXPECT_EQ(found[0].since.seconds(), 5) << "still other numbers at 7, but they differ since 5";
  EXPECT_EQ(found[0].acting->value, "limit 200");
  EXPECT_EQ(found[0].shadow->value, "limit 150");
  EXPECT_EQ(found[0].shadow->policy, "shop-next");
}

TEST(DecisionsDiff, AgreementEndsADifference) {
  int compared = 0;
  EXPECT_TRUE(disagreements({pool(1, 100, false), pool(2, 150, true), pool(3, 150, false)}, compared).empty());
  const auto found =
      disagreements({pool(1, 100, false), pool(2, 150, true), pool(3, 150, false), pool(9, 90, true)}, compared);
  ASSERT_EQ(found.size(), 1u);
  EXPECT_EQ(found[0].since.seconds(), 9);
}

TEST(DecisionsDiff, ABreakerThatNeverOpenedIsClosed) {
  const auto breaker = [](int second, const char* action, bool shadow) {
    v1::Decision decision = pool(second, 0, shadow);
    decision.set_kind("upstream");
    decision.set_action(action);
    return decision;
  };
  int compared = 0;
  const auto open = disagreements({breaker(1, "trip", true)}, compared);
  ASSERT_EQ(open.size(), 1u);
  EXPECT_EQ(open[0].shadow->value, "breaker trip");
  EXPECT_TRUE(disagreements({breaker(1, "trip", true), breaker(9, "close", true)}, compared).empty());
}

TEST(DecisionsDiff, WhatNobodyWatchesIsNoDifference) {
  int compared = 0;
  EXPECT_TRUE(disagreements({pool(1, 100, false)}, compared).empty());
  const auto found = disagreements({pool(1, 100, true)}, compared);
  ASSERT_EQ(found.size(), 1u) << "the shadow would have done something";
  EXPECT_FALSE(found[0].acting);
}

}  // namespace
}  // namespace penstock::cli
