#include "controller/simulate/rivals/brpc_auto.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "tests/unit/controller/simulate/rivals/station.h"
#include "tests/unit/controller/simulate/rivals/steps.h"

namespace penstock::simulate {
namespace {

// Windows of ten samples.
BrpcAuto::Options tens() {
  BrpcAuto::Options options;
  options.min_samples = options.max_samples = 10;
  options.remeasure_interval = std::chrono::hours(1);
  return options;
}

class Windows {
 public:
  explicit Windows(BrpcAuto& brpc) : brpc_(brpc) { pass(brpc, {.from = 100, .to = 100, .fate = Fate::refused}); }
  // Ten that end at even distances, `failed` of them as failures.
  double window(double rtt, double lasts = 1, int failed = 0) {
    for (int i = 1; i <= 10; ++i) {
      const double ends = now_ + lasts * i / 10;
      EXPECT_TRUE(let_in(brpc_, ends));
      end(brpc_, {.from = ends - rtt, .to = ends, .fate = i <= failed ? Fate::error : Fate::ok});
    }
    now_ += lasts;
    return *brpc_.limit();
  }

 private:
  BrpcAuto& brpc_;
  double now_ = 100;
};

TEST(BrpcAuto, WorkedExample) {
  BrpcAuto brpc(tens(), 1);
  Windows windows(brpc);
  // 10 a second of 1 s each: 10 * (1 + 0.3).
  EXPECT_EQ(windows.window(1), 13);
  // 20 % slower at the peak: explores 0.28. 12.8.
  EXPECT_EQ(windows.window(1.2), 12);
  EXPECT_DOUBLE_EQ(brpc.explore(), 0.28);
  // Faster: the shortest is 0.1 * 0.5 + 0.9 * 1 = 0.95; 9.5 * 1.3 = 12.35.
  EXPECT_EQ(windows.window(0.5), 12);
  // A peak of 20 counts at once: 20 * 0.95 * 1.3 = 24.7.
  EXPECT_EQ(windows.window(1, 0.5), 24);
  // Below the peak, 0.01 * 10 + 0.99 * 20 = 19.9, slowness is nobody's fault: 19.9 * 0.95 * 1.3 = 24.58.
  EXPECT_EQ(windows.window(2), 24);
  EXPECT_DOUBLE_EQ(brpc.explore(), 0.3);
}

TEST(BrpcAuto, FailuresLengthenTheMeanTime) {
  BrpcAuto brpc(tens(), 1);
  Windows windows(brpc);
  EXPECT_EQ(windows.window(1), 13);
  // Five answers in a second, which is below the peak: 9.95 * 1 * 1.3 = 12.9.
  EXPECT_EQ(windows.window(1, 1, 5), 12);
  // The same rate of answers as the peak, so that the mean time, (10 + 10) / 5 = 2 s ... tells: 9.95 -> 10.
  EXPECT_EQ(windows.window(1, 0.5, 5), 12);
  EXPECT_DOUBLE_EQ(brpc.explore(), 0.28);
}

TEST(BrpcAuto, HalvesAfterAWindowOfFailuresAlone) {
  BrpcAuto brpc(tens(), 1);
  Windows windows(brpc);
  EXPECT_EQ(windows.window(1, 1, 10), 20);
  EXPECT_EQ(windows.window(1, 1, 10), 10);
  // Not below the number of threads.
  EXPECT_EQ(windows.window(1, 1, 10), 9);
}

TEST(BrpcAuto, ThrowsAwayWindowsWithTooFewSamples) {
  BrpcAuto brpc({}, 1);
  for (int i = 0; i < 1000; ++i) pass(brpc, {.from = 0.1 * i, .to = 0.1 * i + 5});
  EXPECT_EQ(*brpc.limit(), 40);
}

TEST(BrpcAuto, MeasuresTheShortestTimeAnew) {
  BrpcAuto::Options options = tens();
  options.remeasure_interval = std::chrono::seconds(10);
  BrpcAuto brpc(options, 1);
  Windows windows(brpc);
  windows.window(1);
  double least = 100;
  for (int i = 0; i < 20; ++i) least = std::min(least, windows.window(3));
  // The product of the best, lowered; 2 * 3 s later the time of 3 s is the shortest: 10 * 3 * 1.3.
  EXPECT_EQ(least, 9);
  EXPECT_EQ(*brpc.limit(), 39);
}

TEST(BrpcAuto, FindsTheKneeOfAQueue) {
  BrpcAuto brpc({}, 1);
  const Driven driven = drive(brpc, {.servers = 20, .service = 0.1}, 400, 300);
  EXPECT_GT(driven.throughput, 190);
  EXPECT_LT(driven.limit, 40);
}

TEST(BrpcAuto, DoesNotShrinkAtAConstantTime) {
  BrpcAuto brpc({}, 1);
  const Driven driven = drive(brpc, {.service = 0.1}, 1000, 300);
  EXPECT_GT(driven.limit, 105);
  EXPECT_GT(driven.throughput, 970);
}

TEST(BrpcAuto, GrowsWithATimeThatGrewByItself) {
  BrpcAuto brpc({}, 1);
  const Driven driven = drive(brpc, {.service = 0.1, .later_service = 0.5, .later_from = 60}, 1000, 400);
  EXPECT_GT(driven.throughput, 950);
}

// 200 * 0.1 * 1.3 = 26 places of 0.5 s are 52 answers a second, and a window needs a hundred samples in a second.
TEST(BrpcAuto, StaysWhereItIsWithFewerAnswersThanAWindowNeeds) {
  BrpcAuto brpc({}, 1);
  const Driven driven = drive(brpc, {.service = 0.1, .later_service = 0.5, .later_from = 60}, 200, 400);
  EXPECT_NEAR(driven.throughput, 52, 5);
}

}  // namespace
}  // namespace penstock::simulate
