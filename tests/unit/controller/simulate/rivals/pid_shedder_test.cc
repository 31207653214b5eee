#include "controller/simulate/rivals/pid_shedder.h"

#include <gtest/gtest.h>

#include "tests/unit/controller/simulate/rivals/steps.h"

namespace penstock::simulate {
namespace {

// A period in which so many came and went through, with ten in flight of ten, and the queue never empty.
class Periods {
 public:
  double period(int in, int out, int in_flight = 10) {
    for (int i = 0; i < in; ++i) shedder.entered();
    for (int i = 0; i < out; ++i) shedder.went_through();
    now_ += 0.5;
    shedder.tick(at(now_), {.waiting = 50, .in_flight = in_flight, .limit = 10, .last_empty = {}});
    return shedder.share();
  }
  PidShedder shedder{{}};

 private:
  double now_ = 100;
};

bool refused(PidShedder& shedder, decision::Priority priority, double chance) {
  return shedder.refuses({.now = {}, .in_flight = 0, .priority = priority, .chance = chance}, {});
}

TEST(PidShedder, WorkedExample) {
  Periods periods;
  // Error 0: nothing to do.
  EXPECT_EQ(periods.period(10, 10), 0);
  // (12 - 10) / 10 = 0.2: 0.1 * 0.2 + 1.4 * 0.2.
  EXPECT_DOUBLE_EQ(periods.period(12, 10), 0.3);
  // 0: the sum stays.
  EXPECT_DOUBLE_EQ(periods.period(10, 10), 0.28);
  // (13 - 10) / 10: 0.03 + 1.4 * 0.5.
  EXPECT_DOUBLE_EQ(periods.period(13, 10), 0.73);
  // (8 - (10 + 2)) / 10 = -0.4: -0.04 + 1.4 * 0.1, with two places free.
  EXPECT_NEAR(periods.period(8, 10, 8), 0.1, 1e-12);
  EXPECT_EQ(periods.period(100, 10), 1);
}

TEST(PidShedder, RefusesNothingWhileTheQueueRunsEmpty) {
  Periods periods;
  periods.period(15, 10);
  EXPECT_GT(periods.shedder.share(), 0);
  periods.shedder.tick(at(200), {.waiting = 5, .in_flight = 10, .limit = 10, .last_empty = at(199.9)});
  EXPECT_EQ(periods.shedder.share(), 0);
  for (int i = 0; i < 100; ++i) EXPECT_FALSE(refused(periods.shedder, decision::Priority::low, i / 100.0));
}

TEST(PidShedder, RefusesTheLeastImportantFirst) {
  Periods periods;
  // Half normal, half low.
  for (int i = 0; i < 1000; ++i) {
    refused(periods.shedder, i % 2 == 0 ? decision::Priority::normal : decision::Priority::low, i / 1000.0);
  }
  // 0.02 + 0.28 = 0.3 of all: three fifths of the low ones.
  EXPECT_DOUBLE_EQ(periods.period(12, 10), 0.3);
  int low = 0;
  for (int i = 0; i < 100; ++i) {
    EXPECT_FALSE(refused(periods.shedder, decision::Priority::normal, i / 100.0));
    low += refused(periods.shedder, decision::Priority::low, i / 100.0) ? 1 : 0;
  }
  EXPECT_NEAR(low, 60, 3);
}

}  // namespace
}  // namespace penstock::simulate
