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

TEST(Offload, WhatHasNotBegunIsNotBegunForWhomeverGaveUp) {
  Threads threads;
  OffloadThreads offload(1, 1);
  threads.run([&] {
    std::atomic<bool> release = false, begun = false;
    Fiber holder = spawn("holder", [&] {
      offload.run([&] {
        begun = true;
        while (!release) std::this_thread::sleep_for(100us);
      });
    });
    while (!begun) sleep_for(1ms);
    std::atomic<int> ran = 0;
    Fiber expired = spawn("expired", [&] {
      DeadlineScope scope(Clock::now() + 2ms);
      EXPECT_THROW(offload.run([&] { ++ran; }), DeadlineExceeded);
    });
    Fiber cancelled = spawn("cancelled", [&] { EXPECT_THROW(offload.run([&] { ++ran; }), Cancelled); });
    Fiber patient = spawn("patient", [&] { offload.run([&] { ran += 10; }); });
    sleep_for(1ms);
    EXPECT_EQ(offload.waiting(), 3u);
    cancelled.cancel();
    EXPECT_TRUE(cancelled.join_for(10s));
    EXPECT_TRUE(expired.join_for(10s));
    EXPECT_EQ(offload.waiting(), 1u);
    release = true;
    holder.join();
    patient.join();
    EXPECT_EQ(ran, 10);
  });
}

TEST(Offload, WhatEndsAsItsCallerGivesUpHarmsNobody) {
  Threads threads;
  OffloadThreads offload(1, 2);
  threads.run([&] {
    std::atomic<int> ran = 0;
    int returned = 0, gave_up = 0;
    for (int round = 0; round < 300; ++round) {
      std::vector<Fiber> callers;
      for (int i = 0; i < 8; ++i) {
        callers.push_back(spawn("caller", [&, i] {
          DeadlineScope scope(Clock::now() + std::chrono::microseconds(10 * i));
          try {
            offload.run([&] { ++ran; });
            ++returned;
          } catch (const DeadlineExceeded&) {
            ++gave_up;
          } catch (const Cancelled&) {
            ++gave_up;
          }
        }));
      }
      yield();
      callers[static_cast<std::size_t>(round % 8)].cancel();
      for (Fiber& caller : callers) caller.join();
    }
    EXPECT_EQ(ran, returned);
    EXPECT_EQ(returned + gave_up, 300 * 8);
    EXPECT_EQ(offload.waiting(), 0u);
  });
}

TEST(Offload, NeitherDeadlineNorCancelEndWhatHasBegun) {
  Threads threads;
  OffloadThreads offload(1, 1);
  threads.run([&] {
    std::atomic<bool> release = false, begun = false, returned = false;
    Fiber caller = spawn("caller", [&] {
      DeadlineScope scope(Clock::now() + 5ms);
      offload.run([&] {
        begun = true;
        while (!release) std::this_thread::sleep_for(100us);
      });
      returned = true;
      EXPECT_THROW(sleep_for(1ms), Cancelled);
    });
    while (!begun && !caller.done()) sleep_for(1ms);
    sleep_for(10ms);
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
