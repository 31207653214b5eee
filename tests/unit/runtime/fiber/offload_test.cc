#include "runtime/fiber/offload.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <mutex>
#include <set>
#include <stdexcept>
#include <thread>
#include <vector>

#include "penstock/fiber.h"
#include "runtime/fiber/fiber_state.h"
#include "tests/unit/runtime/fiber/threads.h"

namespace penstock::fiber {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

TEST(Offload, RunsOnAnotherThreadWhileOtherFibersGoOn) {
  Threads threads;
  OffloadThreads offload(1, 2);
  threads.run([&] {
    std::atomic<bool> release = false;
    Fiber other = spawn("other", [&] { release = true; });
    const auto mine = std::this_thread::get_id();
    std::thread::id theirs;
    offload.run([&] {
      theirs = std::this_thread::get_id();
      while (!release) std::this_thread::yield();
    });
    EXPECT_NE(mine, theirs);
    other.join();
  });
}

TEST(Offload, IsRefusedOutsideFibers) {
  OffloadThreads offload(1, 1);
  std::atomic<bool> ran = false;
  EXPECT_THROW(offload.run([&] { ran = true; }), std::logic_error);
  Threads threads;
  threads.run([&] { offload.run([] {}); });
  EXPECT_FALSE(ran);
}

TEST(Offload, Rethrows) {
  Threads threads;
  OffloadThreads offload(1, 1);
  threads.run([&] {
    EXPECT_THROW(offload.run([] { throw std::runtime_error("from the thread"); }), std::runtime_error);
    offload.run([] {});
  });
}

TEST(Offload, GrowsWhileAllAreBusyAndNoFurther) {
  Threads threads;
  OffloadThreads offload(1, 4);
  threads.run([&] {
    std::atomic<int> in_flight = 0, most = 0, finished = 0;
    std::atomic<bool> release = false;
    std::vector<Fiber> fibers;
    for (int i = 0; i < 12; ++i) {
      fibers.push_back(spawn("caller", [&] {
        offload.run([&] {
          const int now = ++in_flight;
          for (int seen = most; seen < now && !most.compare_exchange_weak(seen, now);) {
          }
          while (!release) std::this_thread::sleep_for(100us);
          --in_flight;
        });
        ++finished;
      }));
    }
    const Instant give_up = Clock::now() + 10s;
    while (in_flight < 4 && Clock::now() < give_up) sleep_for(1ms);
    release = true;
    for (Fiber& fiber : fibers) fiber.join();
    EXPECT_EQ(most, 4);
    EXPECT_EQ(finished, 12);
  });
}

TEST(Offload, NeitherDeadlineNorCancelEndTheWait) {
  Threads threads;
  OffloadThreads offload(1, 1);
  threads.run([&] {
    std::atomic<bool> release = false, returned = false;
    Fiber caller = spawn("caller", [&] {
      DeadlineScope scope(Clock::now() + 1ms);
      offload.run([&] {
        while (!release) std::this_thread::sleep_for(100us);
      });
      returned = true;
      EXPECT_THROW(sleep_for(1ms), Cancelled);
    });
    sleep_for(3ms);
    caller.cancel();
    sleep_for(3ms);
    EXPECT_FALSE(returned);
    release = true;
    caller.join();
    EXPECT_TRUE(returned);
  });
}

}  // namespace
}  // namespace penstock::fiber
