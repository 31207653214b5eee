#include "penstock/decision/request_memory.h"

#include <gtest/gtest.h>

namespace penstock::decision {
namespace {

constexpr std::int64_t kMiB = 1 << 20;
constexpr std::int64_t kKiB = 1 << 10;

TEST(RequestMemory, AssumesUntilItHasSeenLoad) {
  RequestMemory memory;
  memory.sample(50 * kMiB, 3);
  memory.sample(51 * kMiB, 40);
  EXPECT_EQ(memory.bytes_per_request(), RequestMemory::kAssumed);
}

TEST(RequestMemory, FindsWhatRequestsUse) {
  RequestMemory memory;
  memory.sample(50 * kMiB, 0);
  for (int i = 0; i < 50; ++i) memory.sample(50 * kMiB + 2000 * 100 * kKiB, 2000);
  EXPECT_NEAR(static_cast<double>(memory.bytes_per_request()), 100.0 * kKiB, 1.0 * kKiB);
}

TEST(RequestMemory, FindsWithinHalfASecondThatRequestsUseMore) {
  RequestMemory memory;
  memory.sample(50 * kMiB, 0);
  for (int i = 1; i <= 5; ++i) memory.sample(50 * kMiB + i * 100 * 270 * kKiB, i * 100);
  EXPECT_GT(memory.bytes_per_request(), 0.9 * 270 * kKiB);
}

TEST(RequestMemory, MemoryKeptAfterABurstIsNotChargedToTheFewThatFollow) {
  RequestMemory memory;
  memory.sample(50 * kMiB, 0);
  for (int i = 0; i < 50; ++i) memory.sample(50 * kMiB + 2000 * 100 * kKiB, 2000);
  for (int i = 0; i < 50; ++i) memory.sample(50 * kMiB + 2000 * 100 * kKiB, 200);
  EXPECT_NEAR(static_cast<double>(memory.bytes_per_request()), 100.0 * kKiB, 1.0 * kKiB);
}

TEST(RequestMemory, NeverFallsBelowTheFloor) {
  RequestMemory memory;
  memory.sample(50 * kMiB, 0);
  for (int i = 0; i < 100; ++i) memory.sample(50 * kMiB, 1000);
  EXPECT_EQ(memory.bytes_per_request(), RequestMemory::kFloor);
}

}  // namespace
}  // namespace penstock::decision
