#include "penstock/decision/baseline.h"

#include <gtest/gtest.h>

#include <cmath>
#include <functional>

#include "tests/unit/decision/seeded_random.h"

namespace penstock::decision {
namespace {

using namespace std::chrono_literals;

constexpr Duration kDay = 24h;
// A Monday, 0:00.
constexpr Duration kMonday = 24h * (7 * 2800 + 4);

// Records so many days from kMonday on, hour by hour.
using Shape = std::function<double(int day, int hour)>;
void record(Baseline& baseline, int days, const Shape& value, int first = 0) {
  for (int day = first; day < days; ++day) {
    for (int hour = 0; hour < 24; ++hour) {
      if (const double mean = value(day, hour); mean >= 0) baseline.record(kMonday + day * kDay + hour * 1h, mean);
    }
  }
}
// The middle of an hour.
Duration at(int day, int hour) { return kMonday + day * kDay + hour * 1h + 30min; }
double expected(const Baseline& baseline, int day, int hour) {
  const auto found = baseline.expected(at(day, hour));
  return found ? found->value : 0;
}

bool evening(int hour) { return hour >= 18 && hour < 22; }

TEST(Baseline, ColdStartExpectsNothingBeforeADay) {
  Baseline baseline;
  EXPECT_FALSE(baseline.expected(at(0, 0)));
  record(baseline, 1, [](int, int hour) { return hour < 23 ? 0.2 : -1; });
  EXPECT_EQ(baseline.hours(), 23);
  EXPECT_FALSE(baseline.expected(at(1, 0)));
  EXPECT_FALSE(baseline.departure());
  baseline.record(at(0, 23), 0.2);
  const auto first = baseline.expected(at(1, 0));
  ASSERT_TRUE(first);
  EXPECT_NEAR(first->value, 0.2, 1e-9);
  EXPECT_EQ(first->rests, Baseline::Rests::all_hours);
  EXPECT_EQ(first->samples, 1);
  EXPECT_FALSE(baseline.drift());
}

TEST(Baseline, WhatItRestsOnGrowsWithTheWeeks) {
  Baseline baseline;
  const auto rests = [&](int day) { return baseline.expected(at(day, 12))->rests; };
  const Shape flat = [](int, int) { return 0.2; };
  record(baseline, 2, flat);
  EXPECT_EQ(rests(2), Baseline::Rests::all_hours);
  record(baseline, 3, flat, 2);
  EXPECT_EQ(rests(3), Baseline::Rests::day_kind);
  EXPECT_EQ(rests(5), Baseline::Rests::days);
  record(baseline, 21, flat, 3);
  EXPECT_EQ(rests(21), Baseline::Rests::weeks);
  EXPECT_EQ(baseline.expected(at(21, 12))->samples, 3);
}

TEST(Baseline, ADailyPatternIsExpectedAndIsNoDrift) {
  Baseline baseline;
  record(baseline, 10, [](int, int hour) { return evening(hour) ? 0.9 : 0.1; });
  EXPECT_NEAR(expected(baseline, 10, 12), 0.1, 1e-9);
  EXPECT_NEAR(expected(baseline, 10, 20), 0.9, 1e-9);
  ASSERT_TRUE(baseline.drift());
  EXPECT_NEAR(baseline.drift()->ratio, 1, 1e-9);
  EXPECT_EQ(baseline.drift()->over, 7 * kDay);
  ASSERT_TRUE(baseline.departure());
  EXPECT_NEAR(baseline.departure()->ratio, 1, 1e-9);
}

TEST(Baseline, AWeeklyPatternIsToldFromADailyOne) {
  Baseline baseline;
  // The rush is on Mondays only, and weekends are quiet.
  record(baseline, 28, [](int day, int hour) {
    if (day % 7 >= 5) return 40.0;
    return day % 7 == 0 && hour == 9 ? 900.0 : 100.0;
  });
  EXPECT_NEAR(expected(baseline, 28, 9), 900, 1);
  EXPECT_NEAR(expected(baseline, 29, 9), 100, 1);
  EXPECT_NEAR(expected(baseline, 33, 9), 40, 1);
  // From a Sunday night one sees the Monday morning.
  EXPECT_NEAR(*baseline.highest(at(28, 8) + 30min, at(28, 9) + 30min), 900, 1);
  EXPECT_NEAR(*baseline.highest(at(28, 6), at(28, 7)), 100, 1);
}

TEST(Baseline, BetweenTwoHoursItIsOnTheWay) {
  Baseline baseline;
  record(baseline, 14, [](int, int hour) { return hour < 12 ? 1.0 : 3.0; });
  EXPECT_NEAR(baseline.expected(kMonday + 14 * kDay + 12h)->value, 2, 1e-9);
  EXPECT_NEAR(baseline.expected(kMonday + 14 * kDay + 12h + 15min)->value, 2.5, 1e-9);
}

TEST(Baseline, AnIncidentIsNotLearned) {
  for (const int days : {2, 5, 8, 15, 28}) {
    Baseline baseline;
    // Eight hours of the last day, and a bad evening a week before.
    record(baseline, days, [&](int day, int hour) {
      const bool bad = (day == days - 1 && hour >= 16) || (day == days - 8 && evening(hour));
      return bad ? 5.0 : 0.2;
    });
    for (int hour = 0; hour < 24; ++hour) EXPECT_NEAR(expected(baseline, days, hour), 0.2, 0.02) << days << " " << hour;
    if (days > 8) {
      EXPECT_NEAR(baseline.drift()->ratio, 1, 0.01) << days;
    }
    // It is seen as what it is.
    EXPECT_NEAR(baseline.departure()->ratio, 25, 2) << days;
  }
}

TEST(Baseline, WhatIsSlowerForGoodIsFollowedWithinADay) {
  for (const int step : {3, 9, 16, 23}) {
    Baseline baseline;
    const Shape value = [&](int day, int hour) { return (day < step ? 0.1 : 0.6) * (evening(hour) ? 2 : 1); };
    record(baseline, step, value);
    for (int day = step; day < step + 30; ++day) {
      record(baseline, day + 1, value, day);
      EXPECT_NEAR(expected(baseline, day + 1, 12), 0.6, 0.03) << step << " " << day;
      if (step >= 5) {
        EXPECT_NEAR(expected(baseline, day + 1, 20), 1.2, 0.06) << step << " " << day;
      }
    }
  }
}

TEST(Baseline, ASlowDriftIsFollowedAndReported) {
  Baseline baseline;
  SeededRandom random(7);
  // A tenth more each day: no hour looks other than the one before.
  record(baseline, 16, [&](int day, int hour) {
    return 0.1 * std::pow(1.1, day + hour / 24.0) * (evening(hour) ? 2 : 1) * (0.9 + 0.2 * random.uniform());
  });
  const double now = 0.1 * std::pow(1.1, 16.5);
  EXPECT_NEAR(expected(baseline, 16, 12), now, 0.2 * now);
  ASSERT_TRUE(baseline.drift());
  EXPECT_EQ(baseline.drift()->over, 14 * kDay);
  EXPECT_NEAR(baseline.drift()->ratio, std::pow(1.1, 14), 0.4);
}

TEST(Baseline, ADriftOfHoursIsSeenByTheHour) {
  Baseline baseline;
  record(baseline, 9, [](int, int) { return 0.2; });
  record(
      baseline, 10, [](int, int hour) { return 0.2 * std::pow(1.2, hour); }, 9);
  ASSERT_TRUE(baseline.departure());
  EXPECT_GT(baseline.departure()->ratio, 3);
}

TEST(Baseline, GapsAreNoZeros) {
  Baseline baseline;
  // Recorded in working hours only, and a week was lost.
  record(baseline, 28,
         [](int day, int hour) { return day / 7 == 2 || hour < 8 || hour > 18 ? -1 : 0.1 + hour * 0.01; });
  EXPECT_NEAR(expected(baseline, 28, 10), 0.2, 1e-6);
  EXPECT_NEAR(expected(baseline, 28, 3), 0.23, 0.02);
  EXPECT_EQ(baseline.expected(at(28, 3))->rests, Baseline::Rests::all_hours);
  // Nothing for two months: what is older than the newest by four weeks is forgotten.
  baseline.record(at(90, 10), 0.5);
  EXPECT_EQ(baseline.hours(), 1);
  EXPECT_FALSE(baseline.expected(at(90, 11)));
}

TEST(Baseline, NightsWithoutTrafficAreExpectedToBeQuiet) {
  Baseline baseline;
  record(baseline, 14, [](int, int hour) { return hour < 6 ? 0.0 : 120.0; });
  EXPECT_EQ(expected(baseline, 14, 3), 0);
  EXPECT_NEAR(expected(baseline, 14, 12), 120, 1);
  Baseline silent;
  record(silent, 14, [](int, int) { return 0.0; });
  EXPECT_EQ(expected(silent, 14, 3), 0);
}

TEST(Baseline, OrderDoesNotMatterAndTheLastWordCounts) {
  const Shape value = [](int day, int hour) { return 1 + std::sin(day * 24 + hour); };
  Baseline forth;
  record(forth, 20, value);
  Baseline back;
  for (int day = 19; day >= 0; --day) record(back, day + 1, value, day);
  record(back, 20, value);
  EXPECT_EQ(forth.hours(), back.hours());
  EXPECT_EQ(forth.since(), back.since());
  EXPECT_EQ(forth.until(), back.until());
  for (int hour = 0; hour < 24; ++hour) EXPECT_EQ(expected(forth, 20, hour), expected(back, 20, hour));
}

TEST(Baseline, NumbersThatAreNoneAreLeftOut) {
  Baseline baseline;
  baseline.record(at(0, 0), std::nan(""));
  baseline.record(at(0, 1), HUGE_VAL);
  baseline.record(at(0, 2), -1);
  EXPECT_EQ(baseline.hours(), 0);
  EXPECT_FALSE(baseline.drift());
}

TEST(Baseline, DaysMayBeCompressed) {
  Baseline baseline(20s);
  for (int hour = 0; hour < 14 * 24; ++hour) baseline.record(hour * 20s, hour % 24 < 12 ? 1 : 3);
  EXPECT_NEAR(baseline.expected(14 * 24 * 20s + 6 * 20s + 10s)->value, 1, 1e-9);
  EXPECT_NEAR(baseline.expected(14 * 24 * 20s + 18 * 20s + 10s)->value, 3, 1e-9);
}

}  // namespace
}  // namespace penstock::decision
