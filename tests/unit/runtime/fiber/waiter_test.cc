#include "runtime/fiber/waiter.h"

#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <random>
#include <vector>

#include "penstock/fiber.h"
#include "runtime/fiber/fiber_state.h"
#include "runtime/fiber/scheduler.h"
#include "tests/unit/runtime/fiber/threads.h"

namespace penstock::fiber {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

TEST(Waiter, NotifiedBeforeTheWait) {
  Threads threads;
  threads.run([] {
    Waiter waiter;
    EXPECT_TRUE(waiter.notify());
    EXPECT_FALSE(waiter.notify());
    EXPECT_EQ(waiter.wait(), Wake::notified);
  });
}

TEST(Waiter, NotificationBeatsCancelAndDeadlineThatCameLater) {
  Threads threads;
  threads.run([] {
    Fiber fiber = spawn("waiting", [] {
      Waiter waiter;
      waiter.notify();
      cancel(current());
      DeadlineScope scope(Clock::now() - 1s);
      EXPECT_EQ(waiter.wait(), Wake::notified);
    });
    fiber.join();
  });
}

TEST(Waiter, EndsAtItsOwnDeadlineWithoutAnException) {
  Threads threads;
  threads.run([] {
    Waiter waiter;
    const Wake why = waiter.wait(Clock::now() + 5ms);
    EXPECT_EQ(why, Wake::deadline);
    EXPECT_FALSE(waiter.notify());
    throw_if_interrupted(why, "a test");
  });
}

TEST(Waiter, CancelledFiberDoesNotWait) {
  Threads threads;
  threads.run([] {
    cancel(current());
    Waiter waiter;
    EXPECT_EQ(waiter.wait(), Wake::cancelled);
    EXPECT_FALSE(waiter.notify());
    EXPECT_THROW(throw_if_interrupted(Wake::cancelled, "a test"), Cancelled);
    CancelShield shield;
    Waiter shielded;
    EXPECT_EQ(shielded.wait(Clock::now() + 2ms), Wake::deadline);
  });
}

TEST(Waiter, PassedDeadlineDoesNotWait) {
  Threads threads;
  threads.run([] {
    sleep_for(1ms);
    DeadlineScope scope(cached_now());
    Waiter waiter;
    EXPECT_EQ(waiter.wait(), Wake::deadline);
    EXPECT_THROW(throw_if_interrupted(Wake::deadline, "a test"), DeadlineExceeded);
  });
}

TEST(Waiter, OneOfManyNotifiersWins) {
  Threads threads;
  threads.run([] {
    Waiter waiter;
    int won = 0;
    std::vector<Fiber> fibers;
    for (int i = 0; i < 10; ++i) fibers.push_back(spawn("notifier", [&] { won += waiter.notify(); }));
    EXPECT_EQ(waiter.wait(), Wake::notified);
    for (Fiber& fiber : fibers) fiber.join();
    EXPECT_EQ(won, 1);
  });
}

TEST(TimerHeap, ExpiresInOrderWithRemovalsBetween) {
  Threads threads;
  threads.run([] {
    std::mt19937 random(1);
    const Instant start = Clock::now() + 1h;
    TimerHeap heap;
    std::vector<std::unique_ptr<Waiter>> waiters;
    std::vector<int> at;
    for (int i = 0; i < 500; ++i) {
      waiters.push_back(std::make_unique<Waiter>());
      at.push_back(static_cast<int>(random() % 1000));
      heap.add(*waiters.back(), start + std::chrono::seconds(at.back()));
    }
    // Every third one is taken out, in no order.
    std::vector<bool> removed(500);
    for (int i = 0; i < 500; ++i) {
      const auto k = random() % 500;
      if (k % 3 != 0) continue;
      heap.remove(*waiters[k]);
      removed[k] = true;
    }
    for (int s = 0; s < 1000; s += 7) {
      heap.expire(start + std::chrono::seconds(s));
      for (int i = 0; i < 500; ++i) {
        if (removed[i]) continue;
        // Ended exactly when its time has come.
        const bool due = at[i] <= s;
        if (due) {
          EXPECT_FALSE(waiters[i]->notify());
          removed[i] = true;
        }
      }
      if (heap.size() != 0) {
        EXPECT_GT(heap.next(), start + std::chrono::seconds(s));
      }
    }
    heap.expire(start + 1000s);
    EXPECT_EQ(heap.size(), 0u);
    EXPECT_EQ(heap.next(), Instant::max());
  });
}

}  // namespace
}  // namespace penstock::fiber
