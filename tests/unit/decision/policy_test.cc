#include "penstock/decision/policy.h"

#include <gtest/gtest.h>

namespace penstock::decision {
namespace {

TEST(RouteMatches, ExactPathsOnly) {
  EXPECT_TRUE(route_matches("/cart", "/cart"));
  EXPECT_FALSE(route_matches("/cart", "/cart/1"));
  EXPECT_FALSE(route_matches("/cart", "/car"));
  EXPECT_FALSE(route_matches("/cart", ""));
}

TEST(RouteMatches, PrefixesThatEndInAStar) {
  EXPECT_TRUE(route_matches("/cart/*", "/cart/1/items"));
  EXPECT_TRUE(route_matches("/cart/*", "/cart/"));
  EXPECT_FALSE(route_matches("/cart/*", "/cart"));
  EXPECT_TRUE(route_matches("/*", "/anything"));
  EXPECT_FALSE(route_matches("/a*b", "/axb"));
}

TEST(PriorityNames, AreThoseOfTheMetrics) {
  EXPECT_EQ(to_string(Priority::critical), "critical");
  EXPECT_EQ(to_string(Priority::high), "high");
  EXPECT_EQ(to_string(Priority::normal), "normal");
  EXPECT_EQ(to_string(Priority::low), "low");
}

}  // namespace
}  // namespace penstock::decision
