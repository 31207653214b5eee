#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <thread>

#include "penstock/fiber.h"
#include "penstock/runtime.h"

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
namespace penstock {

[[gnu::noinline]] int recurses_for_ever(int depth) {
  volatile char large[512] = {static_cast<char>(depth)};
  if (depth < 0) return 0;
  return recurses_for_ever(depth + 1) + large[0];
}

namespace {

void run_into_the_guard() {
  Runtime runtime({.threads = 1});
  runtime.spawn("greedy", [] { recurses_for_ever(0); });
  std::this_thread::sleep_for(std::chrono::seconds(10));
}

TEST(StackOverflowDeathTest, NamesTheFiberAndTheFunction) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(run_into_the_guard(), testing::KilledBySignal(SIGSEGV),
              "stack overflow: fiber 'greedy' used all 128 KiB of its stack, in .*recurses_for_ever");
}

void fault_elsewhere() {
  Runtime runtime({.threads = 1});
  runtime.spawn("careless", [] { *static_cast<volatile int*>(nullptr) = 1; });
  std::this_thread::sleep_for(std::chrono::seconds(10));
}

TEST(StackOverflowDeathTest, LeavesOtherFaultsAlone) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(fault_elsewhere(), testing::KilledBySignal(SIGSEGV), "");
}

}  // namespace
}  // namespace penstock
#endif
