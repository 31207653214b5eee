#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <vector>

#include "penstock/fiber.h"
#include "tests/unit/runtime/fiber/threads.h"

namespace penstock::fiber {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

// Of an idle thread; a busy machine makes some late, not half of them.
TEST(Timer, ShortSleepsAreShort) {
  Threads threads;
  threads.run([] {
    std::vector<Duration> late;
    for (int i = 0; i < 301; ++i) {
      const Instant start = Clock::now();
      sleep_for(200us);
      late.push_back(Clock::now() - start - 200us);
    }
    EXPECT_GE(*std::min_element(late.begin(), late.end()), 0us);
    std::nth_element(late.begin(), late.begin() + 150, late.end());
    RecordProperty("median_late_us", static_cast<int>(late[150] / 1us));
    EXPECT_LT(late[150], 100us);
  });
}

// Fibers that compute and let others run hold timers up for about as long as each of them runs once.
TEST(Timer, ShortSleepsAreShortBesideFibersThatAreAlwaysReady) {
  Threads threads;
  threads.run([] {
    bool done = false;
    int runs = 0;
    std::vector<Fiber> busy;
    for (int i = 0; i < 4; ++i) {
      busy.push_back(spawn("busy", [&] {
        while (!done) {
          ++runs;
          for (const Instant start = Clock::now(); Clock::now() - start < 500us;) {
          }
          yield();
        }
      }));
    }
    for (int i = 0; i < 20; ++i) {
      runs = 0;
      sleep_for(1ms);
      // Its own millisecond, one until timers are looked at, and the turn of each.
      EXPECT_LE(runs, 12);
    }
    done = true;
    for (Fiber& fiber : busy) fiber.join();
  });
}

TEST(Timer, AHundredThousandAtOnce) {
  constexpr int kTimers = 100'000;
  Threads threads;
  threads.run([] {
    int ran = 0;
    std::vector<Fiber> fibers;
    const Instant start = Clock::now();
    // In no order; every second one is cancelled.
    for (int i = 0; i < kTimers; ++i) {
      fibers.push_back(spawn_after(std::chrono::microseconds(i * 7919LL % 50'000), "timer", [&] { ++ran; }));
    }
    for (int i = 0; i < kTimers; i += 2) fibers[i].cancel();
    for (int i = 1; i < kTimers; i += 2) fibers[i].join();
    EXPECT_EQ(ran, kTimers / 2);
    EXPECT_LT(Clock::now() - start, 10s);
  });
}

}  // namespace
}  // namespace penstock::fiber
