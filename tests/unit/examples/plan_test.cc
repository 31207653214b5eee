#include "examples/users/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>

namespace users {
namespace {

const std::vector<Phase> kPhases{{"normal", 15}, {"slow", 60}};

TEST(Plan, SameSeedSameUsers) {
  const auto once = plan(kPhases, 300, 7);
  const auto again = plan(kPhases, 300, 7);
  ASSERT_EQ(once.size(), again.size());
  for (std::size_t i = 0; i < once.size(); ++i) {
    EXPECT_EQ(once[i].arrival, again[i].arrival);
    EXPECT_EQ(once[i].path, again[i].path);
    EXPECT_EQ(once[i].refresh_after, again[i].refresh_after);
    EXPECT_EQ(once[i].retry_after, again[i].retry_after);
  }
  EXPECT_NE(once.front().arrival, plan(kPhases, 300, 8).front().arrival);
}

TEST(Plan, ArrivalsComeAtTheRateInOrderAndInTheirPhase) {
  const auto users = plan(kPhases, 300, 1);
  // Poisson: 22500 +- 150.
  EXPECT_NEAR(static_cast<double>(users.size()), 22500, 600);
  EXPECT_TRUE(
      std::is_sorted(users.begin(), users.end(), [](const User& a, const User& b) { return a.arrival < b.arrival; }));
  for (const User& user : users) EXPECT_EQ(user.phase, user.arrival < 15 ? 0 : 1);
  EXPECT_LT(users.back().arrival, 75);
}

TEST(Plan, APhaseMayHaveARateOfItsOwn) {
  const auto users = plan({{"normal", 20}, {"more", 20, 900}, {"less", 20, 30}, {"normal", 20}}, 300, 3);
  std::map<int, double> arrivals;
  for (const User& user : users) {
    arrivals[user.phase] += 1;
    EXPECT_EQ(user.phase, static_cast<int>(user.arrival / 20));
  }
  EXPECT_NEAR(arrivals[0], 6000, 300);
  EXPECT_NEAR(arrivals[1], 18000, 500);
  EXPECT_NEAR(arrivals[2], 600, 100);
  EXPECT_NEAR(arrivals[3], 6000, 300);
  // The first users are those of a plan without: one seed, one story.
  EXPECT_EQ(users.front().arrival, plan(kPhases, 300, 3).front().arrival);
}

TEST(Plan, HabitsAreThoseOfTheIncident) {
  const auto users = plan(kPhases, 300, 1);
  std::map<std::string_view, double> paths;
  double refresh = 0, retry = 0;
  for (const User& user : users) {
    paths[user.path] += 1;
    if (user.refresh_after > 0) {
      ++refresh;
      EXPECT_THAT(user.refresh_after, testing::AllOf(testing::Ge(3.5), testing::Lt(4.5)));
    }
    if (user.retry_after[0] > 0) {
      ++retry;
      EXPECT_THAT(user.retry_after[0], testing::AllOf(testing::Ge(0.5), testing::Lt(1.5)));
    }
  }
  const double all = static_cast<double>(users.size());
  EXPECT_NEAR(paths["/checkout"] / all, 0.4, 0.02);
  EXPECT_NEAR(paths["/browse"] / all, 0.4, 0.02);
  EXPECT_NEAR(paths["/history"] / all, 0.1, 0.02);
  EXPECT_NEAR(paths["/about"] / all, 0.1, 0.02);
  EXPECT_NEAR(refresh / all, 0.5, 0.02);
  EXPECT_NEAR(retry / all, 0.6, 0.02);
}

}  // namespace
}  // namespace users
