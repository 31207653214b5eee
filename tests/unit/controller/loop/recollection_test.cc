#include "controller/loop/recollection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>

namespace penstock::controller {
namespace {

using std::chrono::hours;
using std::chrono::system_clock;
using testing::HasSubstr;

constexpr hours kDay{24};
// A Monday, 0:00.
constexpr system_clock::time_point kMonday{hours(24 * (7 * 2800 + 4))};
const std::pair<std::string, std::string> kA{"shop", "A"};
const std::pair<std::string, std::string> kPool{"shop", "default"};

class Remembered : public testing::Test {
 protected:
  // Hours of days up to this one: latency of A, requests per second.
  void record(
      int days, const std::function<double(int hour)>& latency,
      const std::function<double(int hour)>& rate = [](int) { return 100.0; }) {
    History history;
    for (; recorded_ < days * 24; ++recorded_) {
      const auto began = kMonday + hours(recorded_);
      history.upstreams[kA].push_back({began, 50, latency(recorded_)});
      history.pools[kPool].push_back({began, rate(recorded_)});
    }
    recollection_.record(history);
  }
  Recollection::Turn turn(bool complete = true) { return recollection_.turn(kMonday + hours(recorded_), complete); }

  Recollection recollection_;
  int recorded_ = 0;
};

TEST_F(Remembered, NothingIsExpectedOfNothing) {
  const auto turn = this->turn();
  EXPECT_TRUE(turn.baselines.upstreams.empty());
  EXPECT_TRUE(turn.decisions.empty());
  EXPECT_THAT(describe_upstream_baseline(nullptr, turn.baselines, {}), HasSubstr("0 hours recorded, 24 are needed"));
}

TEST_F(Remembered, TellsWhatIsUsualAndWhatItRestsOn) {
  record(14, [](int) { return 0.2; });
  const auto turn = this->turn();
  const BaselineView& view = turn.baselines.upstreams.at(kA);
  EXPECT_NEAR(view.expected->value, 0.2, 1e-9);
  EXPECT_NEAR(view.rate, 50, 1e-9);
  EXPECT_EQ(view.hours, 14 * 24);
  EXPECT_EQ(view.since, kMonday);
  EXPECT_TRUE(turn.decisions.empty());
  const std::string text = describe_upstream_baseline(&view, turn.baselines, std::chrono::milliseconds(500));
  EXPECT_THAT(text, HasSubstr("0.2s expected at this hour, now 2.50 x (336 recorded hours since 2023-09-04 00:00 UTC"));
  EXPECT_THAT(text, HasSubstr("the last day 1.00 x what it was 1 week ago"));
}

TEST_F(Remembered, ASlowDriftIsToldOfOnceAtEachHalf) {
  std::vector<std::string> told;
  for (int day = 1; day <= 24; ++day) {
    record(day, [](int hour) { return 0.1 * std::pow(1.06, hour / 24); });
    for (int again = 0; again < 3; ++again)
      for (const auto& decision : turn().decisions) told.push_back(decision.message());
  }
  // 1.06 to the 21st is 3.4: above 1.5, 2.25 and 3.375.
  ASSERT_EQ(told.size(), 3u) << testing::PrintToString(told);
  EXPECT_THAT(told[0],
              HasSubstr("it has become slower: over the last day latency is 1.50 x what it was 1 week before"));
  EXPECT_THAT(told[2], HasSubstr("3 weeks before"));
}

TEST_F(Remembered, ADecisionHasItsNumbersAndItsEndIsToldOf) {
  record(10, [](int) { return 0.1; });
  record(13, [](int) { return 0.2; });
  auto turn = this->turn();
  ASSERT_EQ(turn.decisions.size(), 1u);
  const v1::Decision& decision = turn.decisions[0];
  EXPECT_EQ(decision.kind() + " " + decision.service() + " " + decision.name(), "upstream shop A");
  EXPECT_EQ(decision.action() + " " + decision.reason(), "drift slower");
  EXPECT_EQ(decision.formula(), "median over 24 hours of latency / that of the same hours then = 2.00 >= 1.50");
  EXPECT_EQ(decision.would_change(), "a ratio below 1.25, or above 2.25");
  EXPECT_EQ(decision.evidence().fields().at("ratio").number_value(), 2);
  EXPECT_EQ(decision.evidence().fields().at("hours_before").number_value(), 7 * 24);
  EXPECT_NEAR(decision.evidence().fields().at("expected_latency").number_value(), 0.2, 1e-9);
  record(25, [](int) { return 0.1; });
  turn = this->turn();
  ASSERT_EQ(turn.decisions.size(), 1u);
  EXPECT_EQ(turn.decisions[0].reason(), "usual");
  EXPECT_EQ(turn.decisions[0].would_change(), "a ratio of 1.50");
}

TEST_F(Remembered, WhatMovesByTheHourIsToldOf) {
  record(9, [](int) { return 0.1; });
  record(10, [](int hour) { return 0.1 * std::pow(1.25, hour - 9 * 24 + 1); });
  const auto turn = this->turn();
  ASSERT_EQ(turn.decisions.size(), 2u);
  EXPECT_THAT(turn.decisions[1].message(), HasSubstr("over the last three hours latency is"));
  EXPECT_THAT(turn.decisions[1].message(), HasSubstr("what is expected at this time of the week"));
}

TEST_F(Remembered, NothingIsToldOfBeforeAllIsRead) {
  record(10, [](int) { return 0.1; });
  record(13, [](int) { return 0.3; });
  EXPECT_TRUE(turn(false).decisions.empty());
  EXPECT_EQ(turn(true).decisions.size(), 1u);
}

TEST_F(Remembered, ThePoolsRushIsSeenAnHourBefore) {
  // Each day at 18:00 five times as many come.
  record(
      9, [](int) { return 0.1; }, [](int hour) { return hour % 24 == 18 ? 500.0 : 100.0; });
  const auto at = [&](int hour, int minute) {
    return recollection_.turn(kMonday + 9 * kDay + hours(hour) + std::chrono::minutes(minute), true)
        .baselines.pools.at(kPool);
  };
  EXPECT_NEAR(at(12, 0).rate, 100, 1);
  EXPECT_NEAR(at(17, 35).rate, 500, 1);
  EXPECT_NEAR(at(17, 30).expected->value, 100, 1);
  const auto view = at(17, 35);
  EXPECT_THAT(describe_pool_baseline(&view, {}), HasSubstr("up to 500.0/s within the next"));
}

TEST_F(Remembered, WhatIsGoneForFourWeeksIsForgotten) {
  record(2, [](int) { return 0.1; });
  EXPECT_EQ(recollection_.turn(kMonday + 29 * kDay, true).baselines.upstreams.size(), 1u);
  EXPECT_EQ(recollection_.turn(kMonday + 31 * kDay, true).baselines.upstreams.size(), 0u);
  EXPECT_EQ(recollection_.turn(kMonday + 31 * kDay, true).baselines.pools.size(), 0u);
}

}  // namespace
}  // namespace penstock::controller
