#include "controller/simulate/rivals/line.h"

#include <gtest/gtest.h>

#include "tests/unit/controller/simulate/rivals/steps.h"

namespace penstock::simulate {
namespace {

constexpr auto kNormal = decision::Priority::normal;

std::optional<std::uint32_t> take(Line& line, double now) {
  const auto id = line.first(at(now));
  if (id) line.remove(*id, at(now));
  return id;
}

std::vector<std::uint32_t> all(Line& line, double now) {
  std::vector<std::uint32_t> ids;
  while (const auto id = take(line, now)) ids.push_back(*id);
  return ids;
}

TEST(Line, FirstInFirstOut) {
  Line line({});
  for (std::uint32_t id = 1; id <= 4; ++id) line.add(id, kNormal, at(1));
  EXPECT_TRUE(line.remove(2, at(1)));
  EXPECT_FALSE(line.remove(2, at(1)));
  EXPECT_FALSE(line.remove(99, at(1)));
  EXPECT_EQ(line.size(), 3);
  EXPECT_EQ(all(line, 1000), (std::vector<std::uint32_t>{1, 3, 4}));
}

TEST(Line, LastInFirstOut) {
  Line line({.order = Line::Order::lifo});
  for (std::uint32_t id = 1; id <= 3; ++id) line.add(id, kNormal, at(1));
  EXPECT_EQ(all(line, 1), (std::vector<std::uint32_t>{3, 2, 1}));
}

TEST(Line, ByPriority) {
  Line line({.order = Line::Order::priority});
  line.add(1, decision::Priority::low, at(1));
  line.add(2, decision::Priority::critical, at(2));
  line.add(3, decision::Priority::normal, at(3));
  line.add(4, decision::Priority::critical, at(4));
  EXPECT_EQ(all(line, 5), (std::vector<std::uint32_t>{2, 4, 3, 1}));
}

TEST(Line, TurnsAwayWhoWaitedTooLong) {
  Line line({.max = 2, .max_wait = std::chrono::seconds(1)});
  line.add(1, kNormal, at(1));
  line.add(2, kNormal, at(1.5));
  EXPECT_TRUE(line.full());
  EXPECT_FALSE(line.expired(at(1.9)));
  EXPECT_EQ(line.expired(at(2)), 1u);
  EXPECT_FALSE(line.expired(at(2)));
  EXPECT_EQ(line.expired(at(2.5)), 2u);
  EXPECT_EQ(line.size(), 0);
}

TEST(AdaptiveLifo, ABurstMayWaitAHundredMilliseconds) {
  Line line({.order = Line::Order::adaptive_lifo});
  line.add(1, kNormal, at(10));
  line.add(2, kNormal, at(10.05));
  EXPECT_FALSE(line.expired(at(10.09)));
  // Oldest first while the line was empty a moment ago.
  EXPECT_EQ(take(line, 10.09), 1u);
  EXPECT_FALSE(line.expired(at(10.14)));
  EXPECT_EQ(line.expired(at(10.15)), 2u);
}

TEST(AdaptiveLifo, AStandingLineMayWaitFiveAndIsTurnedRound) {
  Line line({.order = Line::Order::adaptive_lifo});
  line.add(1, kNormal, at(10));
  line.add(2, kNormal, at(10.09));
  line.add(3, kNormal, at(10.11));
  line.add(4, kNormal, at(10.112));
  EXPECT_EQ(line.expired(at(10.112)), 1u);
  EXPECT_EQ(take(line, 10.112), 4u);
  EXPECT_EQ(line.expired(at(10.116)), 3u);
  EXPECT_FALSE(line.expired(at(10.116)));
  EXPECT_EQ(take(line, 10.116), 2u);
  // It was empty: all is forgotten.
  line.add(5, kNormal, at(10.2));
  line.add(6, kNormal, at(10.2));
  EXPECT_FALSE(line.expired(at(10.29)));
  EXPECT_EQ(take(line, 10.29), 5u);
}

}  // namespace
}  // namespace penstock::simulate
