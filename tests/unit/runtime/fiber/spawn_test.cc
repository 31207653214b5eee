#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "penstock/fiber.h"
#include "penstock/future.h"
#include "tests/unit/runtime/fiber/threads.h"

namespace penstock::fiber {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

TEST(Fiber, DoneTellsWhetherItHasEnded) {
  Threads threads;
  threads.run([] {
    Fiber fiber = spawn("short", [] { penstock::yield(); });
    EXPECT_FALSE(fiber.done());
    fiber.join();
    EXPECT_TRUE(fiber.done());
    EXPECT_THROW(Fiber().done(), std::logic_error);
  });
}

TEST(Fiber, JoinForEndsWhileTheFiberGoesOn) {
  Threads threads;
  threads.run([] {
    bool goes_on = true;
    Fiber fiber = spawn("long", [&] {
      while (goes_on) sleep_for(1ms);
      throw std::runtime_error("its end");
    });
    const Instant start = Clock::now();
    EXPECT_FALSE(fiber.join_for(5ms));
    EXPECT_GE(Clock::now() - start, 5ms);
    EXPECT_FALSE(fiber.join_until(Clock::now() - 1s));
    goes_on = false;
    EXPECT_THROW(fiber.join_for(10s), std::runtime_error);
    EXPECT_TRUE(fiber.done());
  });
}

TEST(Fiber, ManyJoinOne) {
  Threads threads(2);
  threads.run([&] {
    int gave_up = 0;
    Fiber awaited = spawn("awaited", [&] {
      while (gave_up < 5) sleep_for(1ms);
    });
    int joined = 0;
    std::vector<Fiber> joiners;
    for (int i = 0; i < 10; ++i) {
      joiners.push_back(spawn("joiner", [&, i] { ++(awaited.join_for(i % 2 == 0 ? 10s : 1ms) ? joined : gave_up); }));
    }
    for (Fiber& joiner : joiners) joiner.join();
    EXPECT_EQ(joined, 5);
  });
}

TEST(SpawnAfter, RunsWhenItsTimeHasCome) {
  Threads threads;
  threads.run([] {
    const Instant start = Clock::now();
    std::string order;
    Fiber second = spawn_after(20ms, "second", [&] { order += '2'; });
    Fiber first = spawn_after(10ms, "first", [&] { order += '1'; });
    second.join();
    EXPECT_GE(Clock::now() - start, 20ms);
    EXPECT_EQ(order, "12");
    EXPECT_TRUE(first.done());
  });
}

TEST(SpawnAfter, NeverRunsWhenItIsCancelledBefore) {
  Threads threads;
  threads.run([] {
    auto captured = std::make_shared<int>();
    bool ran = false;
    Fiber fiber = spawn_after(5ms, "never", [&ran, captured] { ran = true; });
    fiber.cancel();
    EXPECT_TRUE(fiber.done());
    EXPECT_EQ(captured.use_count(), 1) << "what it captured";
    EXPECT_THROW(fiber.join(), Cancelled);
    fiber.cancel();
    sleep_for(10ms);
    EXPECT_FALSE(ran);
  });
}

TEST(SpawnAfter, IsCancelledFromAPlainThread) {
  SchedulerThread thread(SchedulerOptions{});
  Fiber fiber;
  thread.spawn("spawner", [&] { fiber = spawn_after(1h, "never", [] {}); }).join();
  fiber.cancel();
  EXPECT_THROW(fiber.join(), Cancelled);
}

TEST(SpawnAfter, MayBeCancelledAtAnyMomentAroundItsStart) {
  Threads threads;
  threads.run([] {
    for (int i = 0; i < 200; ++i) {
      Fiber fiber = spawn_after(std::chrono::microseconds(i % 20), "around now", [] { sleep_for(1h); });
      sleep_for(std::chrono::microseconds(i % 17));
      fiber.cancel();
      EXPECT_THROW(fiber.join(), Cancelled);
    }
  });
}

TEST(SpawnAfter, EndsWithItsThread) {
  bool ran = false;
  Fiber fiber;
  {
    SchedulerThread thread(SchedulerOptions{});
    thread.spawn("spawner", [&] { fiber = spawn_after(1h, "never", [&] { ran = true; }); }).join();
    EXPECT_EQ(thread.fibers(), 1u) << "it counts from the start";
  }
  EXPECT_TRUE(fiber.done());
  EXPECT_THROW(fiber.join(), Cancelled);
  EXPECT_FALSE(ran);
}

TEST(Future, HasTheResult) {
  Threads threads;
  threads.run([] {
    Future<std::unique_ptr<int>> future = async("answer", [] {
      sleep_for(1ms);
      return std::make_unique<int>(42);
    });
    EXPECT_FALSE(future.done());
    EXPECT_EQ(*future.get(), 42);
    EXPECT_FALSE(future.valid());
    EXPECT_THROW(future.get(), std::logic_error);
    async("nothing", [] {}).get();
  });
}

TEST(SpawnAfter, OnAThreadThatCancelsAllIsRefusedAtOnce) {
  Threads threads;
  threads.run([&] {
    threads[0].cancel_all();
    EXPECT_THROW(sleep_for(10s), Cancelled);
    auto captured = std::make_shared<int>(1);
    Fiber fiber = spawn_after(1h, "never", [captured] {});
    EXPECT_TRUE(fiber.done());
    EXPECT_EQ(captured.use_count(), 1);
    EXPECT_THROW(fiber.join(), Cancelled);
  });
}

TEST(Future, RethrowsAndMayBeAskedAgainAfterADeadline) {
  Threads threads;
  threads.run([] {
    Future<int> future = async("failing", []() -> int {
      sleep_for(20ms);
      throw std::runtime_error("no answer");
    });
    {
      DeadlineScope scope(Clock::now() + 1ms);
      EXPECT_THROW(future.get(), DeadlineExceeded);
    }
    EXPECT_THROW(future.get(), std::runtime_error);
  });
}

TEST(Future, OfAPlainThreadsView) {
  Threads threads;
  Future<int> future;
  threads.run([&] { future = async("answer", [] { return 42; }); });
  EXPECT_EQ(future.get(), 42);
}

TEST(Spawn, IsRefusedOutsideFibers) {
  EXPECT_THROW(spawn("nowhere", [] {}), std::logic_error);
  EXPECT_THROW(spawn_after(1s, "nowhere", [] {}), std::logic_error);
  EXPECT_THROW(penstock::yield(), std::logic_error);
}

}  // namespace
}  // namespace penstock::fiber
