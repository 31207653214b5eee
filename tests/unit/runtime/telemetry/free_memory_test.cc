#include "runtime/telemetry/free_memory.h"

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "runtime/telemetry/process_metrics.h"

namespace penstock::telemetry {
namespace {

constexpr std::int64_t kMib = 1 << 20;

std::int64_t resident() { return static_cast<std::int64_t>(resident_bytes()); }

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kOtherAllocator = true;
#else
constexpr bool kOtherAllocator = false;
#endif

TEST(FreeMemory, IsGivenBackAlsoFromBetweenWhatLivesOn) {
  if (kOtherAllocator) GTEST_SKIP() << "another allocator";
  std::vector<std::unique_ptr<std::string>> pages, small;
  for (int i = 0; i < 800; ++i) {
    // Less than what the allocator ever maps by itself.
    pages.push_back(std::make_unique<std::string>(100 * 1024, 'x'));
    // Too large to find room in what tests before have freed, so that pages do not lie side by side.
    small.push_back(std::make_unique<std::string>(8 * 1024, 'x'));
  }
  const std::int64_t before = resident();
  pages.clear();
  ASSERT_GT(resident(), before - 20 * kMib) << "the allocator gives it back by itself: nothing to test";
  EXPECT_FALSE(give_back_free_memory(1000 * kMib));
  EXPECT_TRUE(give_back_free_memory(10 * kMib));
  EXPECT_LT(resident(), before - 60 * kMib);
}

}  // namespace
}  // namespace penstock::telemetry
