#include "runtime/fiber/waiter.h"

#include <gtest/gtest.h>

#include <chrono>
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

}  // namespace
}  // namespace penstock::fiber
