#include <gtest/gtest.h>

#include <vector>

#include "decision/wait_queue.h"

namespace penstock::decision {
namespace {

using std::chrono::milliseconds;

Instant at(int ms) { return Instant{} + milliseconds(ms); }

// Times in ms at which a head of the queue is dropped, when one is taken each ms.
std::vector<int> drops(Codel& codel, int from, int to, Duration wait, const QueuePolicy& policy) {
  std::vector<int> times;
  for (int ms = from; ms < to; ++ms) {
    if (codel.drop(wait, false, at(ms), policy)) times.push_back(ms);
  }
  return times;
}

const QueuePolicy kPolicy{.target = milliseconds(50), .interval = milliseconds(500)};

TEST(Codel, DropsNothingBelowTarget) {
  Codel codel;
  EXPECT_TRUE(drops(codel, 1, 5000, milliseconds(49), kPolicy).empty());
}

TEST(Codel, DropsNothingInABurstShorterThanTheInterval) {
  Codel codel;
  EXPECT_TRUE(drops(codel, 1, 500, milliseconds(400), kPolicy).empty());
  EXPECT_TRUE(drops(codel, 500, 510, milliseconds(10), kPolicy).empty());
  EXPECT_TRUE(drops(codel, 510, 1000, milliseconds(400), kPolicy).empty());
}

TEST(Codel, DropsAtAGrowingRate) {
  Codel codel;
  // First after an interval; then after interval / sqrt(1), / sqrt(2), / sqrt(3), / sqrt(4).
  EXPECT_EQ(drops(codel, 1, 2500, milliseconds(100), kPolicy),
            (std::vector<int>{501, 1001, 1355, 1644, 1894, 2117, 2321}));
}

TEST(Codel, ResumesNearItsLastRate) {
  Codel codel;
  drops(codel, 1, 2500, milliseconds(100), kPolicy);
  EXPECT_TRUE(drops(codel, 2500, 2600, milliseconds(1), kPolicy).empty());
  const std::vector<int> again = drops(codel, 2600, 3600, milliseconds(100), kPolicy);
  ASSERT_GE(again.size(), 3u);
  EXPECT_EQ(again[0], 3100);
  EXPECT_LT(again[1] - again[0], 250);
}

TEST(Codel, LeavesAQueueOfOneAlone) {
  Codel codel;
  for (int ms = 1; ms < 5000; ++ms) EXPECT_FALSE(codel.drop(milliseconds(400), true, at(ms), kPolicy));
}

TEST(Codel, StartsAnewWhenTheQueueWasEmpty) {
  Codel codel;
  drops(codel, 1, 400, milliseconds(100), kPolicy);
  codel.idle();
  EXPECT_TRUE(drops(codel, 4000, 4500, milliseconds(100), kPolicy).empty());
}

}  // namespace
}  // namespace penstock::decision
