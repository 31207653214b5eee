// Only built for ThreadSanitizer: that the fibers hide no race from it, and that it names the code on their stacks.

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <cstdlib>
#include <memory>
#include <thread>
#include <vector>

#include "penstock/fiber.h"
#include "runtime/fiber/scheduler_thread.h"

namespace penstock::fiber {
namespace {

// The exit status of a program with a report.
constexpr int kReported = 66;

int unguarded = 0;

[[gnu::noinline]] void write_unguarded() { ++unguarded; }

// Two fibers, of one thread or of two, that touch the same variable after each has seen the other run.
void write_from_two_fibers(unsigned threads) {
  std::vector<std::unique_ptr<SchedulerThread>> run;
  for (unsigned i = 0; i < threads; ++i) run.push_back(std::make_unique<SchedulerThread>(SchedulerOptions{.index = i}));
  // Relaxed, so that the counters order nothing.
  std::atomic<int> arrived{0};
  std::atomic<int> written{0};
  auto write = [&] {
    arrived.fetch_add(1, std::memory_order_relaxed);
    while (arrived.load(std::memory_order_relaxed) < 2) yield();
    write_unguarded();
    written.fetch_add(1, std::memory_order_relaxed);
  };
  run.front()->spawn("first", write);
  run.back()->spawn("second", write);
  while (written.load(std::memory_order_relaxed) < 2) std::this_thread::yield();
}

TEST(ThreadSanitizerDeathTest, FindsARaceOfFibersOfTwoThreads) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        write_from_two_fibers(2);
        std::exit(0);
      },
      ::testing::ExitedWithCode(kReported),
      ::testing::AllOf(::testing::HasSubstr("data race"), ::testing::HasSubstr("write_unguarded"),
                       ::testing::HasSubstr("'first'"), ::testing::HasSubstr("'second'")));
}

TEST(ThreadSanitizerDeathTest, FindsNoneOfFibersOfOneThread) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(
      {
        write_from_two_fibers(1);
        std::exit(0);
      },
      ::testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace penstock::fiber
