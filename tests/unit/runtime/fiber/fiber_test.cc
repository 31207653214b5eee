#include "penstock/fiber.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <vector>

#include "runtime/fiber/scheduler.h"
#include "tests/unit/runtime/fiber/threads.h"

namespace penstock::fiber {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

TEST(Fiber, RunsWhenTheSpawnerWaits) {
  Threads threads;
  threads.run([] {
    std::string order;
    Fiber a = spawn("a", [&] { order += 'a'; });
    Fiber b = spawn("b", [&] { order += 'b'; });
    order += '0';
    a.join();
    b.join();
    EXPECT_EQ(order, "0ab");
  });
}

TEST(Fiber, JoinRethrows) {
  Threads threads;
  threads.run([] {
    Fiber fiber = spawn("failing", [] { throw std::runtime_error("broken"); });
    EXPECT_THROW(fiber.join(), std::runtime_error);
  });
}

TEST(Fiber, WaitsNeitherForItselfNorForNobody) {
  Threads threads;
  threads.run([] {
    Fiber self;
    self = spawn("self", [&] { EXPECT_THROW(self.join(), std::logic_error); });
    sleep_for(1ms);
    EXPECT_TRUE(self.done());
    Fiber none;
    EXPECT_THROW(none.join(), std::logic_error);
    EXPECT_THROW(none.done(), std::logic_error);
    none.cancel();
  });
}

TEST(Fiber, DeadlinesMayBeSaidFromNow) {
  Threads threads;
  threads.run([] {
    const Instant began = std::chrono::steady_clock::now();
    {
      const DeadlineScope scope(2ms);
      EXPECT_THROW(sleep_for(1h), DeadlineExceeded);
    }
    EXPECT_LT(std::chrono::steady_clock::now() - began, 10s);
    const DeadlineScope never(Duration::max());
    EXPECT_EQ(current_deadline(), Instant::max());
  });
}

TEST(Fiber, JoinAfterTheEndReturnsAtOnce) {
  Threads threads;
  threads.run([] {
    Fiber fiber = spawn("short", [] {});
    yield();
    yield();
    fiber.join();
  });
}

TEST(Fiber, CapturesAreGoneWhenJoinReturns) {
  Threads threads;
  threads.run([] {
    auto token = std::make_shared<int>(1);
    Fiber fiber = spawn("holder", [token] { yield(); });
    fiber.join();
    EXPECT_EQ(token.use_count(), 1);
  });
}

TEST(Fiber, SleepersWakeInTheOrderOfTheirDeadlines) {
  Threads threads;
  threads.run([] {
    std::vector<int> woken;
    Instant first, last_began;
    // Until all sleep before the first is to wake.
    for (auto lead = 20ms; last_began >= first; lead *= 4) {
      woken.clear();
      first = Clock::now() + lead;
      std::vector<Fiber> fibers;
      for (int i : {5, 1, 4, 2, 3, 0}) {
        fibers.push_back(spawn("sleeper", [&, i] {
          last_began = Clock::now();
          sleep_until(first + i * 2ms);
          EXPECT_GE(Clock::now(), first + i * 2ms);
          woken.push_back(i);
        }));
      }
      for (Fiber& fiber : fibers) fiber.join();
    }
    EXPECT_EQ(woken, (std::vector<int>{0, 1, 2, 3, 4, 5}));
  });
}

TEST(Fiber, DeadlineEndsASleep) {
  Threads threads;
  threads.run([] {
    const Instant start = Clock::now();
    DeadlineScope scope(start + 10ms);
    EXPECT_THROW(sleep_for(10s), DeadlineExceeded);
    EXPECT_GE(Clock::now(), start + 10ms);
    EXPECT_LT(Clock::now(), start + 5s);
    // Sticky.
    EXPECT_THROW(sleep_for(1ms), DeadlineExceeded);
    EXPECT_THROW(check_interrupts(), DeadlineExceeded);
  });
}

TEST(Fiber, InnerDeadlineCannotExtendTheOuter) {
  Threads threads;
  threads.run([] {
    const Instant outer = Clock::now() + 10ms;
    {
      DeadlineScope a(outer);
      {
        DeadlineScope b(Clock::now() + 1h);
        EXPECT_EQ(current_deadline(), outer);
        EXPECT_THROW(sleep_for(10s), DeadlineExceeded);
      }
      EXPECT_THROW(sleep_for(10s), DeadlineExceeded);
    }
    EXPECT_EQ(current_deadline(), Instant::max());
    sleep_for(1ms);
  });
}

TEST(Fiber, InnerDeadlineLeavesTheOuterUsable) {
  Threads threads;
  threads.run([] {
    DeadlineScope outer(Clock::now() + 1h);
    {
      DeadlineScope inner(Clock::now() + 1ms);
      EXPECT_THROW(sleep_for(10s), DeadlineExceeded);
    }
    sleep_for(1ms);
  });
}

TEST(Fiber, SpawnedFiberInheritsTheDeadline) {
  Threads threads;
  threads.run([] {
    DeadlineScope scope(Clock::now() + 5ms);
    Fiber fiber = spawn("child", [] { sleep_for(10s); });
    try {
      fiber.join();
      ADD_FAILURE();
    } catch (const DeadlineExceeded&) {
    }
  });
}

TEST(Fiber, CancelEndsASleep) {
  Threads threads;
  threads.run([] {
    Fiber fiber = spawn("sleeper", [] { sleep_for(1h); });
    yield();
    fiber.cancel();
    EXPECT_THROW(fiber.join(), Cancelled);
  });
}

TEST(Fiber, CancelIsSticky) {
  Threads threads;
  threads.run([] {
    int cancelled = 0;
    Fiber fiber = spawn("sleeper", [&] {
      for (int i = 0; i < 3; ++i) {
        try {
          sleep_for(1h);
        } catch (const Cancelled&) {
          ++cancelled;
        }
      }
    });
    yield();
    fiber.cancel();
    fiber.join();
    EXPECT_EQ(cancelled, 3);
  });
}

TEST(Fiber, CancelEndsAJoinAndTheAwaitedGoesOn) {
  Threads threads;
  threads.run([] {
    bool finished = false;
    Fiber awaited = spawn("awaited", [&] {
      sleep_for(20ms);
      finished = true;
    });
    Fiber waiting = spawn("waiting", [&] { awaited.join(); });
    yield();
    waiting.cancel();
    EXPECT_THROW(waiting.join(), Cancelled);
    EXPECT_FALSE(finished);
    awaited.join();
    EXPECT_TRUE(finished);
  });
}

TEST(Fiber, CancelBeforeTheStartIsSeenByTheFirstWait) {
  Threads threads;
  threads.run([] {
    bool started = false;
    Fiber fiber = spawn("late", [&] {
      started = true;
      sleep_for(1h);
    });
    fiber.cancel();
    EXPECT_THROW(fiber.join(), Cancelled);
    EXPECT_TRUE(started);
  });
}

TEST(Fiber, CancelFromAPlainThread) {
  Threads threads;
  for (int i = 0; i < 100; ++i) {
    Fiber fiber = threads[0].spawn("sleeper", [] { sleep_for(1h); });
    fiber.cancel();
    threads.run([&fiber] { EXPECT_THROW(fiber.join(), Cancelled); });
  }
}

TEST(Fiber, ShieldHoldsCancelOff) {
  Threads threads;
  threads.run([] {
    bool cleaned = false;
    Fiber fiber = spawn("shielded", [&] {
      try {
        sleep_for(1h);
      } catch (const Cancelled&) {
        CancelShield shield;
        sleep_for(5ms);
        cleaned = true;
      }
      sleep_for(1h);
    });
    yield();
    fiber.cancel();
    EXPECT_THROW(fiber.join(), Cancelled);
    EXPECT_TRUE(cleaned);
  });
}

TEST(Fiber, DeadlineHoldsUnderAShield) {
  Threads threads;
  threads.run([] {
    DeadlineScope scope(Clock::now() + 2ms);
    CancelShield shield;
    EXPECT_THROW(sleep_for(1h), DeadlineExceeded);
  });
}

TEST(Fiber, JoinAcrossThreads) {
  Threads threads(2);
  Fiber fiber = threads[1].spawn("other", [] {
    sleep_for(5ms);
    throw std::runtime_error("from the other thread");
  });
  threads.run([&] { EXPECT_THROW(fiber.join(), std::runtime_error); });
  // Its end is announced a moment before it is off its thread.
  threads.run([] {}, 1);
}

TEST(Fiber, NeverChangesItsThread) {
  Threads threads(2);
  std::vector<std::function<void()>> waits;
  for (unsigned t = 0; t < 2; ++t) {
    waits.push_back(threads.start(
        [t] {
          const auto id = std::this_thread::get_id();
          for (int i = 0; i < 100; ++i) {
            sleep_for(i % 10 == 0 ? 1ms : 0ms);
            EXPECT_EQ(std::this_thread::get_id(), id);
            EXPECT_EQ(thread_index(), t);
          }
        },
        t));
  }
  for (auto& wait : waits) wait();
}

#ifdef __SANITIZE_THREAD__
// It knows 8128 threads and fibers at once.
constexpr int kMostFibers = 1'000;
#elif defined(__SANITIZE_ADDRESS__)
constexpr int kMostFibers = 10'000;
#else
constexpr int kMostFibers = 40'000;
#endif

TEST(Fiber, TenThousandSleepAtOnce) {
  Threads threads;
  threads.run([] {
    constexpr int kFibers = std::min(10'000, kMostFibers);
    int woken = 0;
    std::vector<Fiber> fibers;
    for (int i = 0; i < kFibers; ++i) {
      fibers.push_back(spawn("sleeper", [&] {
        sleep_for(200ms);
        ++woken;
      }));
    }
    for (Fiber& fiber : fibers) fiber.join();
    EXPECT_EQ(woken, kFibers);
  });
}

TEST(Fiber, AsManyStacksAsAreAskedFor) {
  Threads threads;
  threads.run([] {
    std::vector<Fiber> fibers;
    for (int i = 0; i < kMostFibers; ++i) fibers.push_back(spawn("sleeper", [] { sleep_for(1h); }));
    yield();
    for (Fiber& fiber : fibers) fiber.cancel();
    int cancelled = 0;
    for (Fiber& fiber : fibers) {
      try {
        fiber.join();
      } catch (const Cancelled&) {
        ++cancelled;
      }
    }
    EXPECT_EQ(cancelled, kMostFibers);
  });
}

TEST(SchedulerThread, CancelsWhatIsLeftAtItsEnd) {
  bool cancelled = false;
  {
    SchedulerThread thread(SchedulerOptions{});
    thread.spawn("left", [&] {
      try {
        sleep_for(1h);
      } catch (const Cancelled&) {
        cancelled = true;
      }
    });
  }
  EXPECT_TRUE(cancelled);
}

TEST(SchedulerThread, RefusesFibersAfterItsEnd) {
  SchedulerThread thread(SchedulerOptions{});
  thread.finish();
  thread.join();
  EXPECT_THROW(thread.spawn("late", [] {}), std::logic_error);
}

}  // namespace
}  // namespace penstock::fiber
