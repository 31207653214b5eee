#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>

#include "penstock/fiber.h"
#include "penstock/runtime.h"
#include "tests/unit/runtime/captured_log.h"
#include "tests/unit/runtime/eventually.h"

namespace penstock {

[[gnu::noinline]] void blocks_in_a_library_call(std::chrono::milliseconds d) {
  ::usleep(static_cast<useconds_t>(d.count() * 1000));
  asm volatile("");
}

[[gnu::noinline]] void computes(const std::atomic<bool>& stop) {
  while (!stop) {
  }
  asm volatile("");
}

namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::Not;

double blocked(Runtime& runtime, const char* call) {
  return runtime.metrics().counter("penstock_scheduler_blocked_total", "", {{"call", call}}).value();
}

TEST(LoopWatch, NamesTheCallThatBlocks) {
  CapturedLog log;
  {
    Runtime runtime({.threads = 1, .blocked_after = 30ms});
    runtime.spawn("sleeper", [] { blocks_in_a_library_call(300ms); }).join();
    EXPECT_TRUE(eventually([&] { return blocked(runtime, "usleep") + blocked(runtime, "clock_nanosleep") == 1; }));
  }
  EXPECT_THAT(log.text(), HasSubstr("scheduler thread 0 has been held for "));
  EXPECT_THAT(log.text(), HasSubstr("a call that blocks"));
  EXPECT_THAT(log.text(), HasSubstr("blocks_in_a_library_call"));
  EXPECT_THAT(log.text(), HasSubstr("fiber 'sleeper' held scheduler thread 0 for 30"));
}

TEST(LoopWatch, NamesTheFiberThatComputes) {
  CapturedLog log;
  {
    Runtime runtime({.threads = 1, .blocked_after = 30ms});
    std::atomic<bool> stop{false};
    Fiber fiber = runtime.spawn("thinker", [&stop] { computes(stop); });
    EXPECT_TRUE(eventually([&] { return blocked(runtime, "computing") + blocked(runtime, "cpu") == 1; }));
    stop = true;
    fiber.join();
  }
  if (log.text().find("got no processor") != std::string::npos) GTEST_SKIP() << "this machine is too busy to tell";
  EXPECT_THAT(log.text(), HasSubstr("by computing, in fiber thinker"));
  EXPECT_THAT(log.text(), HasSubstr("computes("));
}

TEST(LoopWatch, SaysNothingOfThreadsThatSleepOrSwitch) {
  CapturedLog log;
  {
    Runtime runtime({.threads = 2, .blocked_after = 20ms});
    runtime
        .spawn("busy and fair",
               [] {
                 const auto until = std::chrono::steady_clock::now() + 150ms;
                 while (std::chrono::steady_clock::now() < until) yield();
               })
        .join();
    std::this_thread::sleep_for(100ms);
  }
  EXPECT_THAT(log.text(), Not(HasSubstr("call that blocks")));
  EXPECT_THAT(log.text(), Not(HasSubstr("by computing")));
}

TEST(LoopWatch, ShowsWhereAFiberIsWhenItsDeadlinePasses) {
  CapturedLog log;
  {
    Runtime runtime({.threads = 1, .blocked_after = 40ms});
    const auto overruns = [&] {
      return runtime.metrics().counter("penstock_scheduler_deadline_overruns_total", "").value();
    };
    std::atomic<bool> stop{false};
    Fiber fiber = runtime.spawn("late", [&stop] {
      const DeadlineScope deadline(std::chrono::steady_clock::now() + 100ms);
      computes(stop);
    });
    EXPECT_TRUE(eventually([&] { return overruns() == 1; }));
    stop = true;
    fiber.join();
    // One that waits is ended by its deadline.
    runtime
        .spawn("in time",
               [] {
                 const DeadlineScope deadline(std::chrono::steady_clock::now() + 1ms);
                 EXPECT_THROW(sleep_for(10s), DeadlineExceeded);
               })
        .join();
    EXPECT_EQ(overruns(), 1);
  }
  if (log.text().find("got no processor") != std::string::npos) GTEST_SKIP() << "this machine is too busy to tell";
  EXPECT_THAT(log.text(), HasSubstr("a deadline passed "));
  EXPECT_THAT(log.text(), HasSubstr("its fiber late does not wait"));
  EXPECT_THAT(log.text(), HasSubstr("computes("));
}

TEST(LoopWatch, CanBeLeftOut) {
  CapturedLog log;
  {
    Runtime runtime({.threads = 1, .blocked_after = 0ms});
    runtime.spawn("sleeper", [] { blocks_in_a_library_call(150ms); }).join();
  }
  EXPECT_EQ(log.text(), "");
  EXPECT_THROW(Runtime({.threads = 1, .blocked_after = -1ms}), std::invalid_argument);
}

}  // namespace
}  // namespace penstock
