#include "controller/simulate/rivals/sre_throttle.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/unit/controller/simulate/rivals/steps.h"

namespace penstock::simulate {
namespace {

TEST(SreThrottle, WorkedExample) {
  SreThrottle throttle({});
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(pass(throttle, {.from = 1, .to = 1.1}));
  EXPECT_EQ(throttle.refusal(), 0);
  for (int i = 0; i < 4; ++i) let_in(throttle, 2);
  // 8 requests, 4 accepts.
  EXPECT_EQ(throttle.refusal(), 0);
  for (int i = 0; i < 2; ++i) let_in(throttle, 2, 0.999);
  // (10 - 8) / 11.
  EXPECT_DOUBLE_EQ(throttle.refusal(), 2.0 / 11);
  EXPECT_FALSE(let_in(throttle, 3, 0.18));
  // That was a request, too: (11 - 8) / 12.
  EXPECT_DOUBLE_EQ(throttle.refusal(), 0.25);
  EXPECT_TRUE(let_in(throttle, 3, 0.25));
}

TEST(SreThrottle, ErrorsAreAccepted) {
  SreThrottle throttle({});
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(pass(throttle, {.from = 1, .to = 1.1, .fate = Fate::error}));
  EXPECT_EQ(throttle.refusal(), 0);
}

TEST(SreThrottle, RefusalsTimeoutsAndCancellationsAreNot) {
  for (const Fate fate : {Fate::refused, Fate::timeout, Fate::cancelled}) {
    SreThrottle throttle({});
    for (int i = 0; i < 9; ++i) {
      let_in(throttle, 1, 0.999);
      end(throttle, {.from = 1, .to = 1.1, .fate = fate});
    }
    EXPECT_DOUBLE_EQ(throttle.refusal(), 0.9);
  }
}

TEST(SreThrottle, ForgetsAfterTwoMinutes) {
  SreThrottle throttle({});
  for (int i = 0; i < 99; ++i) let_in(throttle, 1, 0.999);
  let_in(throttle, 119, 0.999);
  EXPECT_DOUBLE_EQ(throttle.refusal(), 100.0 / 101);
  let_in(throttle, 121, 0.999);
  EXPECT_DOUBLE_EQ(throttle.refusal(), 2.0 / 3);
  let_in(throttle, 1000, 0.999);
  EXPECT_DOUBLE_EQ(throttle.refusal(), 0.5);
}

// A backend that takes on a third of what it should settles where it sees half as much again... as K says: twice.
TEST(SreThrottle, SendsTwiceWhatIsAccepted) {
  SreThrottle throttle({});
  double sent = 0;
  double taken = 0;
  double budget = 0;
  for (int i = 0; i < 60'000; ++i) {
    const double now = 1 + i * 0.01;
    budget = std::min(1.0, budget + 0.1);
    if (!let_in(throttle, now, (i * 7919 % 1000) / 1000.0)) continue;
    const bool accepts = budget >= 1;
    if (accepts) budget = 0;
    end(throttle, {.from = now, .to = now, .fate = accepts ? Fate::ok : Fate::refused});
    if (i > 30'000) ++sent;
    if (i > 30'000 && accepts) ++taken;
  }
  EXPECT_NEAR(sent / taken, 2, 0.2);
}

}  // namespace
}  // namespace penstock::simulate
