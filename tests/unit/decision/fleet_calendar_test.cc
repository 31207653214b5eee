#include "penstock/decision/fleet_calendar.h"

#include <gtest/gtest.h>

#include <set>

namespace penstock::decision {
namespace {

using std::chrono::seconds;

TEST(FleetCalendar, OneTestAtATimeOfAService) {
  FleetCalendar calendar;
  calendar.ask("shop/A", {"shop"}, false, seconds(0));
  calendar.ask("shop/B", {"shop"}, false, seconds(0));
  calendar.resolve();
  EXPECT_NE(calendar.may_test("shop/A"), calendar.may_test("shop/B"));
}

TEST(FleetCalendar, ServicesThatShareNothingAreTestedAtOnce) {
  FleetCalendar calendar;
  calendar.ask("shop/A", {"shop"}, false, seconds(0));
  calendar.ask("blog/B", {"blog"}, false, seconds(0));
  calendar.resolve();
  EXPECT_TRUE(calendar.may_test("shop/A"));
  EXPECT_TRUE(calendar.may_test("blog/B"));
}

TEST(FleetCalendar, ASharedThirdPartyJoinsServices) {
  FleetCalendar calendar;
  for (int slot = 0; slot < 20; ++slot) {
    const auto wall = slot * TestCalendar::kSlot;
    calendar.ask("pay", {"shop", "blog"}, false, wall);
    calendar.ask("shop/B", {"shop"}, false, wall);
    calendar.ask("blog/C", {"blog"}, false, wall);
    calendar.resolve();
    EXPECT_NE(calendar.may_test("pay"), calendar.may_test("shop/B") || calendar.may_test("blog/C")) << slot;
    EXPECT_EQ(calendar.may_test("shop/B"), calendar.may_test("blog/C")) << slot << ": they do not hinder each other";
  }
}

TEST(FleetCalendar, WhoIsUnderTestKeepsItsTurn) {
  FleetCalendar calendar;
  for (int slot = 0; slot < 20; ++slot) {
    calendar.ask("shop/A", {"shop"}, false, slot * TestCalendar::kSlot);
    calendar.ask("shop/B", {"shop"}, true, slot * TestCalendar::kSlot);
    calendar.resolve();
    EXPECT_FALSE(calendar.may_test("shop/A"));
    EXPECT_TRUE(calendar.may_test("shop/B"));
  }
  calendar.ask("shop/A", {"shop"}, false, seconds(0));
  calendar.resolve();
  EXPECT_TRUE(calendar.may_test("shop/A"));
}

TEST(FleetCalendar, NobodyIsPassedOverForEver) {
  FleetCalendar calendar;
  const std::set<std::string> all = {"shop/A", "shop/B", "shop/C", "shop/D", "shop/E"};
  std::set<std::string> had;
  for (int slot = 0; slot < 60; ++slot) {
    for (const auto& upstream : all) calendar.ask(upstream, {"shop"}, false, slot * TestCalendar::kSlot);
    calendar.resolve();
    for (const auto& upstream : all)
      if (calendar.may_test(upstream)) had.insert(upstream);
  }
  EXPECT_EQ(had, all);
}

}  // namespace
}  // namespace penstock::decision
