#include "decision/usefulness.h"

#include <gtest/gtest.h>

namespace penstock::decision {
namespace {

using std::chrono::milliseconds;

Instant at(double s) { return Instant{} + from_seconds(s); }

class UsefulnessTest : public testing::Test {
 protected:
  // A call that ends at `age` after `start`.
  void call(double start, double age, bool success) {
    const Instant started = at(start);
    usefulness.begun(started);
    const int bin = Usefulness::bin_of(from_seconds(age));
    for (int i = 0; i < bin; ++i) usefulness.survived(i, started);
    if (success) {
      usefulness.succeeded(bin, started, at(start + age));
    } else {
      usefulness.failed(bin, started, true);
    }
  }
  double f(double patience) { return usefulness.estimate(from_seconds(patience), at(100))->value; }

  Usefulness usefulness;
};

TEST_F(UsefulnessTest, IsUnknownWithoutCalls) { EXPECT_FALSE(usefulness.estimate(from_seconds(10), at(100))); }

TEST_F(UsefulnessTest, IsTheShareOfSuccesses) {
  for (int i = 0; i < 100; ++i) call(99, 0.05, i % 4 != 0);
  EXPECT_NEAR(f(10), 0.75, 1e-9);
}

TEST_F(UsefulnessTest, IsTheProductOverTheBinsThatACallGoesThrough) {
  // 40 answer at once, 30 fail in the third bin, 20 answer in the fifth, 10 fail there.
  for (int i = 0; i < 10; ++i) {
    for (int k = 0; k < 4; ++k) call(99, 0.05, true);
    for (int k = 0; k < 3; ++k) call(98, 0.7, false);
    for (int k = 0; k < 2; ++k) call(96, 2.5, true);
    call(96, 2.5, false);
  }
  EXPECT_NEAR(f(10), 0.6, 1e-9);
  // Who waits for 1 s sees only the first.
  EXPECT_NEAR(f(1), 0.4, 1e-9);
}

TEST_F(UsefulnessTest, CountsOnABinThatNoCallHasLeft) {
  for (int i = 0; i < 50; ++i) {
    usefulness.begun(at(97));
    for (int bin = 0; bin < 4; ++bin) usefulness.survived(bin, at(97));
  }
  const auto estimate = usefulness.estimate(from_seconds(10), at(100));
  EXPECT_DOUBLE_EQ(estimate->value, 1);
  EXPECT_FALSE(estimate->identified);
}

TEST_F(UsefulnessTest, BorrowsBeyondTheHorizon) {
  for (int i = 0; i < 50; ++i) {
    usefulness.begun(at(94));
    for (int bin = 0; bin < 7; ++bin) usefulness.survived(bin, at(94));
  }
  const auto estimate = usefulness.estimate(from_seconds(10), at(100));
  EXPECT_DOUBLE_EQ(estimate->value, 0);
  EXPECT_TRUE(estimate->identified);
  // Who waits for 30 s may yet be served.
  EXPECT_DOUBLE_EQ(usefulness.estimate(from_seconds(30), at(100))->value, 1);
}

TEST_F(UsefulnessTest, ForgetsWithItsHalfLife) {
  usefulness.decay(at(0));
  for (int i = 0; i < 100; ++i) call(0, 0.05, true);
  usefulness.decay(at(2));
  for (int i = 0; i < 12; ++i) {
    call(2, 0.05, false);
    call(2, 0.05, true);
  }
  EXPECT_NEAR(f(10), 62.0 / 74, 1e-9);
  usefulness.decay(at(60));
  EXPECT_FALSE(usefulness.estimate(from_seconds(10), at(60)));
}

TEST_F(UsefulnessTest, DropsThePastAfterARunThatItCannotExplain) {
  for (int i = 0; i < 500; ++i) call(99, 0.05, true);
  for (int i = 0; i < 7; ++i) call(99, 0.05, false);
  EXPECT_GT(f(10), 0.98);
  call(99, 0.05, false);
  EXPECT_EQ(f(10), 0);
  EXPECT_GT(usefulness.estimate(from_seconds(10), at(100))->upper, 0.2);
}

TEST_F(UsefulnessTest, SilenceRunsFromTheFirstFruitlessCall) {
  call(1, 0.05, true);
  EXPECT_EQ(usefulness.silence(at(60)), Duration::zero());
  call(59, 0.05, false);
  EXPECT_EQ(usefulness.silence(at(60)), from_seconds(1));
  EXPECT_FALSE(usefulness.hanging());
  EXPECT_EQ(usefulness.bearable_silence(from_seconds(10)), milliseconds(1500));
  EXPECT_EQ(usefulness.bearable_silence(from_seconds(1)), milliseconds(1000));
}

TEST_F(UsefulnessTest, CallersWhoGiveUpCountAsSurvivorsOnly) {
  for (int i = 0; i < 20; ++i) {
    usefulness.begun(at(99));
    usefulness.survived(0, at(99));
    usefulness.gone(1, at(99));
    call(99, 0.3, true);
  }
  EXPECT_NEAR(f(10), 1, 1e-9);
}

}  // namespace
}  // namespace penstock::decision
