#include "controller/simulate/rivals/resilience4j.h"

#include <gtest/gtest.h>

#include "tests/unit/controller/simulate/rivals/steps.h"

namespace penstock::simulate {
namespace {

using State = Resilience4j::State;

void calls(Resilience4j& breaker, int count, double from, double took, Fate fate = Fate::ok) {
  for (int i = 0; i < count; ++i) EXPECT_TRUE(pass(breaker, {.from = from, .to = from + took, .fate = fate}));
}

TEST(Resilience4j, OpensAtHalfOfAHundredCalls) {
  Resilience4j breaker({});
  calls(breaker, 50, 1, 0.1);
  calls(breaker, 49, 2, 0.1, Fate::error);
  EXPECT_EQ(breaker.state(), State::closed);
  calls(breaker, 1, 3, 0.1, Fate::timeout);
  EXPECT_EQ(breaker.state(), State::open);
  EXPECT_TRUE(breaker.open());
  EXPECT_FALSE(let_in(breaker, 4));
  EXPECT_FALSE(let_in(breaker, 63));
  // 60 s after it opened, ten are let through.
  for (int i = 0; i < 10; ++i) EXPECT_TRUE(let_in(breaker, 63.2)) << i;
  EXPECT_FALSE(let_in(breaker, 63.2));
  EXPECT_EQ(breaker.state(), State::half_open);
  for (int i = 0; i < 10; ++i) end(breaker, {.from = 63.2, .to = 63.3, .fate = i < 4 ? Fate::error : Fate::ok});
  EXPECT_EQ(breaker.state(), State::closed);
}

TEST(Resilience4j, OpensAgainWhenItsProbesFail) {
  Resilience4j breaker({});
  calls(breaker, 100, 1, 0.1, Fate::error);
  calls(breaker, 9, 62, 0.1);
  EXPECT_EQ(breaker.state(), State::half_open);
  calls(breaker, 1, 62, 0.1);
  EXPECT_EQ(breaker.state(), State::closed);
  calls(breaker, 100, 70, 0.1, Fate::refused);
  calls(breaker, 5, 131, 0.1);
  calls(breaker, 5, 131, 0.1, Fate::error);
  EXPECT_EQ(breaker.state(), State::open);
}

TEST(Resilience4j, ItsDefaultsCallNothingSlowThatTakesLessThanAMinute) {
  Resilience4j breaker({});
  calls(breaker, 1000, 1, 59);
  EXPECT_EQ(breaker.state(), State::closed);
  // All of the last hundred have to be.
  calls(breaker, 99, 100, 61);
  EXPECT_EQ(breaker.state(), State::closed);
  calls(breaker, 1, 100, 61);
  EXPECT_EQ(breaker.state(), State::open);
}

TEST(Resilience4j, TheExampleOfTheDocumentationOpensOnHalfOfSlowCalls) {
  Resilience4j breaker(Resilience4j::documented_example());
  calls(breaker, 5, 1, 0.1);
  calls(breaker, 4, 1, 2.1);
  EXPECT_EQ(breaker.state(), State::closed);
  calls(breaker, 1, 1, 2.1);
  EXPECT_EQ(breaker.state(), State::open);
  EXPECT_FALSE(let_in(breaker, 4));
  calls(breaker, 1, 4.2, 0.1);
  calls(breaker, 2, 4.2, 2.1);
  EXPECT_EQ(breaker.state(), State::open);
}

TEST(Resilience4j, ForgetsWhatIsOlderThanItsWindow) {
  Resilience4j breaker(Resilience4j::documented_example());
  calls(breaker, 9, 1, 2.1);
  calls(breaker, 10, 8.5, 0.1);
  EXPECT_EQ(breaker.state(), State::closed);
}

TEST(Resilience4j, WhatTheClientCancelsIsAFailure) {
  Resilience4j breaker({});
  calls(breaker, 50, 1, 0.1);
  calls(breaker, 50, 1, 4, Fate::cancelled);
  EXPECT_EQ(breaker.state(), State::open);
}

}  // namespace
}  // namespace penstock::simulate
