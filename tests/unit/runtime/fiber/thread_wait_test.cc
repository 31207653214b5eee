#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <ctime>
#include <thread>
#include <vector>

#include "penstock/fiber.h"
#include "runtime/fiber/scheduler.h"
#include "runtime/fiber/waiter.h"
#include "tests/unit/runtime/fiber/threads.h"

// Waits of threads that run no scheduler.
namespace penstock::fiber {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

TEST(ThreadWait, NotifiedBeforeTheWait) {
  Waiter waiter;
  EXPECT_TRUE(waiter.notify());
  EXPECT_FALSE(waiter.notify());
  EXPECT_EQ(waiter.wait(), Wake::notified);
}

TEST(ThreadWait, NotifiedByAThread) {
  for (int round = 0; round < 200; ++round) {
    Waiter waiter;
    std::thread thread([&] { EXPECT_TRUE(waiter.notify()); });
    EXPECT_EQ(waiter.wait(), Wake::notified);
    thread.join();
  }
}

TEST(ThreadWait, NotifiedByAFiber) {
  Threads threads;
  for (int round = 0; round < 200; ++round) {
    Waiter waiter;
    const auto join = threads.start([&] { EXPECT_TRUE(waiter.notify()); });
    EXPECT_EQ(waiter.wait(), Wake::notified);
    join();
  }
}

TEST(ThreadWait, NotifiesAFiber) {
  Threads threads;
  for (int round = 0; round < 200; ++round) {
    std::atomic<Waiter*> waiting{nullptr};
    const auto join = threads.start([&] {
      Waiter waiter;
      waiting = &waiter;
      EXPECT_EQ(waiter.wait(), Wake::notified);
    });
    while (waiting == nullptr) std::this_thread::yield();
    EXPECT_TRUE(waiting.load()->notify());
    join();
  }
}

TEST(ThreadWait, EndsAtTheDeadlineWithoutBurningTime) {
  const Instant until = Clock::now() + 30ms;
  timespec before{}, after{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &before);
  Waiter waiter;
  const Wake why = waiter.wait(until);
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &after);
  EXPECT_EQ(why, Wake::deadline);
  EXPECT_GE(Clock::now(), until);
  EXPECT_LT((after.tv_sec - before.tv_sec) * 1'000'000'000 + after.tv_nsec - before.tv_nsec, 15'000'000);
  EXPECT_FALSE(waiter.notify());
  throw_if_interrupted(why, "a test");
}

TEST(ThreadWait, DeadlineThatHasPassedDoesNotWait) {
  for (const Instant until : {Clock::now(), Clock::now() - 1h, Instant::min(), Instant()}) {
    Waiter waiter;
    EXPECT_EQ(waiter.wait(until), Wake::deadline);
  }
}

TEST(ThreadWait, NotificationAndDeadlineAtOnceHaveOneWinner) {
  Threads threads(2);
  for (int round = 0; round < 300; ++round) {
    Waiter waiter;
    std::atomic<int> won{0};
    const Instant at = Clock::now() + 100us;
    std::vector<std::function<void()>> joins;
    for (unsigned i = 0; i < 2; ++i) {
      joins.push_back(threads.start(
          [&] {
            sleep_until(at);
            won += waiter.notify();
          },
          i));
    }
    const Wake why = waiter.wait(at);
    for (auto& join : joins) join();
    EXPECT_EQ(won, why == Wake::notified ? 1 : 0);
  }
}

TEST(ThreadWait, SleepsAndJoinsFibers) {
  Threads threads;
  const Instant start = Clock::now();
  sleep_for(5ms);
  EXPECT_GE(Clock::now() - start, 5ms);
  sleep_for(0ms);
  sleep_for(-1ms);
  Fiber fiber = threads[0].spawn("ends later", [] {
    sleep_for(2ms);
    throw std::runtime_error("its end");
  });
  EXPECT_THROW(fiber.join(), std::runtime_error);
}

TEST(ThreadWaitDeathTest, NeverOnADispatcher) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        Threads threads;
        threads.run([] {
          Scheduler::current()->inbox()->post([] { Waiter().wait(); });
          sleep_for(10s);
        });
      },
      "");
}

}  // namespace
}  // namespace penstock::fiber
