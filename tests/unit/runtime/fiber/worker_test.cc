#include "runtime/fiber/worker.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <fstream>
#include <functional>
#include <future>
#include <memory>
#include <new>
#include <string>
#include <vector>

#include "penstock/fiber.h"
#include "penstock/group.h"
#include "penstock/sync.h"
#include "runtime/fiber/fiber_state.h"
#include "runtime/fiber/scheduler.h"
#include "runtime/fiber/waiter.h"
#include "tests/unit/runtime/eventually.h"
#include "tests/unit/runtime/fiber/threads.h"

namespace penstock::fiber {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

// Says when it ran.
struct Step final : Task {
  explicit Step(std::string name = "step") : name(std::move(name)) {}
  void run() noexcept override {
    if (body) body();
    ++runs;
    ended.notify();
  }
  void describe(TaskName& out) const noexcept override { out += name; }
  void refused(std::exception_ptr) noexcept override {
    ++refusals;
    ended.notify();
  }

  const std::string name;
  std::function<void()> body;
  int runs = 0;
  int refusals = 0;
  Waiter ended;
};

// As one that destroys itself at its end.
struct GoneAtItsEnd final : Task {
  void run() noexcept override {
    const auto until = Clock::now() + 5ms;
    while (Clock::now() < until) {
    }
    gone = true;
  }
  void describe(TaskName& out) const noexcept override {
    EXPECT_FALSE(gone);
    out += "gone";
  }
  void refused(std::exception_ptr) noexcept override {}
  bool gone = false;
};

TEST(Task, IsNotTouchedAfterItsEndEvenIfItHeldTheThread) {
  SchedulerThread thread(SchedulerOptions{.long_run = 1ms});
  GoneAtItsEnd task;
  std::promise<void> done;
  thread.spawn("test", [&] {
    Scheduler::current()->start(task);
    EXPECT_TRUE(eventually([&] { return task.gone; }));
    done.set_value();
  });
  done.get_future().wait();
}

TEST(Task, RunsAsAFiberOfItsOwnName) {
  Threads threads;
  threads.run([] {
    Step step("its name");
    TaskName name;
    bool waited = false;
    step.body = [&] {
      current().describe(name);
      sleep_for(1ms);
      waited = true;
    };
    Scheduler::current()->start(step);
    EXPECT_EQ(step.runs, 0) << "not before this fiber waits";
    step.ended.wait();
    EXPECT_TRUE(waited);
    EXPECT_EQ(name.view(), "its name");
  });
}

TEST(Task, MayBeStartedByACallback) {
  Threads threads;
  threads.run([] {
    Step step;
    Scheduler& scheduler = *Scheduler::current();
    scheduler.inbox()->post([&] { scheduler.start(step); });
    step.ended.wait();
    EXPECT_EQ(step.runs, 1);
  });
}

TEST(Task, TakesItsTurnAmongFibersThatAreReady) {
  Threads threads;
  threads.run([] {
    std::string order;
    std::vector<Fiber> fibers;
    const auto twice = [&](char c) {
      order += c;
      penstock::yield();
      order += c;
    };
    for (char c : {'a', 'b', 'c'}) fibers.push_back(spawn("twice", [&, c] { twice(c); }));
    penstock::yield();
    // They are ready again, before those that are started now.
    for (char c : {'d', 'e'}) fibers.push_back(spawn("twice", [&, c] { twice(c); }));
    for (Fiber& fiber : fibers) fiber.join();
    EXPECT_EQ(order, "abcabcdede");
  });
}

TEST(Task, LeavesNothingToTheNextOnItsWorker) {
  Threads threads;
  threads.run([] {
    for (int i = 0; i < 3; ++i) {
      Fiber first = spawn("first", [] {
        FiberState& state = current();
        state.account = std::make_shared<RequestAccount>();
        state.deadline = Clock::now() - 1s;
        ++state.shields;
        cancel(state);
        errno = EPERM;
      });
      const FiberState* of_second = nullptr;
      Fiber second = spawn("second", [&] {
        FiberState& state = current();
        of_second = &state;
        EXPECT_EQ(errno, 0);
        EXPECT_EQ(state.account, nullptr);
        EXPECT_EQ(state.deadline, Instant::max());
        EXPECT_EQ(state.shields, 0);
        EXPECT_FALSE(state.cancelled);
      });
      second.join();
      first.join();
      EXPECT_EQ(Scheduler::current()->workers(), 2u) << "this fiber's, and one for both";
    }
  });
}

TEST(Worker, IoIsSeenWhileTasksFollowEachOther) {
  Threads threads;
  threads.run([] {
    bool stop = false;
    std::uint64_t runs = 0;
    std::function<void()> again = [&] {
      ++runs;
      if (!stop) spawn("again", [&] { again(); });
    };
    spawn("again", [&] { again(); });
    sleep_for(5ms);
    stop = true;
    penstock::yield();
    EXPECT_GT(runs, 100u);
  });
}

TEST(Worker, TheMemoryOfABurstIsGivenBack) {
  // Each costs a sanitizer much.
  constexpr int kFibers = 1'500;
  Threads threads;
  threads.run([] {
    std::vector<Fiber> fibers;
    for (int i = 0; i < kFibers; ++i) fibers.push_back(spawn("sleeper", [] { sleep_for(20ms); }));
    penstock::yield();
    EXPECT_GT(Scheduler::current()->workers(), static_cast<std::size_t>(kFibers));
    for (Fiber& fiber : fibers) fiber.join();
    EXPECT_GT(Scheduler::current()->workers(), static_cast<std::size_t>(kFibers)) << "the next burst may come at once";
    EXPECT_TRUE(eventually([] { return Scheduler::current()->workers() <= 1'025; }));
  });
}

#if !defined(__SANITIZE_THREAD__) && !defined(__SANITIZE_ADDRESS__)

std::size_t resident_bytes() {
  std::size_t all = 0, resident = 0;
  std::ifstream("/proc/self/statm") >> all >> resident;
  return resident * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
}

TEST(Worker, AHundredThousandSleepInTwoPagesEach) {
  static constexpr std::size_t kFibers = 100'000;
  Threads threads;
  threads.run([] {
    const std::size_t before = resident_bytes();
    std::vector<Fiber> fibers;
    std::size_t cancelled = 0;
    for (std::size_t i = 0; i < kFibers; ++i) {
      fibers.push_back(spawn("sleeper", [&] {
        try {
          sleep_for(1h);
        } catch (const Cancelled&) {
          ++cancelled;
        }
      }));
    }
    penstock::yield();
    const std::size_t each = (resident_bytes() - before) / kFibers;
    RecordProperty("resident_bytes_each", static_cast<int>(each));
    EXPECT_LE(each, 2u * 4096);
    for (Fiber& fiber : fibers) fiber.cancel();
    for (Fiber& fiber : fibers) fiber.join();
    EXPECT_EQ(cancelled, kFibers);
  });
}

// Stacks so large that the address space has room for two or so.
constexpr std::size_t kHugeStack = std::size_t{40} << 40;

TEST(Worker, WithoutAStackATaskWaitsForAWorker) {
  SchedulerThread thread({.stack_bytes = kHugeStack});
  std::atomic<int> ran{0};
  thread
      .spawn("spawner",
             [&] {
               std::vector<Fiber> fibers;
               for (int i = 0; i < 20; ++i) {
                 fibers.push_back(spawn("part", [&] {
                   sleep_for(1ms);
                   ++ran;
                 }));
               }
               for (Fiber& fiber : fibers) fiber.join();
             })
      .join();
  EXPECT_EQ(ran, 20);
  EXPECT_EQ(thread.heartbeat()->refused, 0u);
}

TEST(Worker, WithoutAStackATaskIsToldWhenNoWorkerIsFreeForLong) {
  SchedulerThread thread({.stack_bytes = kHugeStack});
  thread
      .spawn("spawner",
             [&] {
               Event over;
               std::vector<Fiber> fibers;
               for (int i = 0; i < 20; ++i) fibers.push_back(spawn("part", [&] { over.wait(); }));
               int refused = 0;
               // Those that have a stack wait for the others to end, as may be in life.
               for (std::size_t i = fibers.size(); i-- > 0;) {
                 try {
                   if (!fibers[i].join_for(5s)) break;
                 } catch (const std::bad_alloc&) {
                   ++refused;
                 }
                 if (refused >= 17) over.set();
               }
               EXPECT_GE(refused, 17);
               EXPECT_LT(refused, 20);
               over.set();
             })
      .join();
  EXPECT_GE(thread.heartbeat()->refused, 17u);
}

TEST(Worker, WithoutAStackAMemberFailsItsGroup) {
  SchedulerThread thread({.stack_bytes = kHugeStack});
  std::atomic<bool> joined{false};
  thread
      .spawn("spawner",
             [&] {
               Group group(40);
               const auto alive = std::make_shared<int>();
               for (int i = 0; i < 20; ++i) group.spawn("member", [alive] { Event().wait(); });
               const DeadlineScope deadline(std::chrono::steady_clock::now() + 10s);
               EXPECT_THROW(group.join(), std::bad_alloc);
               // The first refusal has cancelled those that had a stack.
               EXPECT_THROW(group.join(), std::bad_alloc);
               EXPECT_EQ(group.size(), 0u);
               EXPECT_EQ(alive.use_count(), 1);
               joined = true;
             })
      .join();
  EXPECT_TRUE(joined);
}

TEST(Worker, WithoutAnyStackTasksAreRefusedAtOnce) {
  SchedulerThread thread({.stack_bytes = std::size_t{1} << 50});
  Fiber fiber = thread.spawn("never", [] {});
  EXPECT_THROW(fiber.join(), std::bad_alloc);
  EXPECT_EQ(thread.heartbeat()->refused, 1u);
}

#endif

TEST(Worker, IsFoundByAnAddressInItsStackOrGuard) {
  Threads threads;
  threads.run([] {
    int local = 0;
    const Scheduler& scheduler = *Scheduler::current();
    const Worker* worker = scheduler.running_at(&local);
    ASSERT_NE(worker, nullptr);
    EXPECT_EQ(&worker->state, &current());
    EXPECT_EQ(scheduler.running_at(StackArena::find(&local).lowest - 1), worker);
    auto on_heap = std::make_unique<int>();
    EXPECT_EQ(scheduler.running_at(on_heap.get()), nullptr);
    // Another fiber's.
    Fiber other = spawn("other", [&] { EXPECT_EQ(Scheduler::current()->running_at(&local), nullptr); });
    other.join();
  });
}

TEST(Heartbeat, ShowsFromOutsideThatAFiberHoldsTheThread) {
  SchedulerThread thread(SchedulerOptions{});
  std::atomic<bool> holds{false}, over{false};
  Fiber hog = thread.spawn("hog", [&] {
    holds = true;
    while (!over) std::this_thread::yield();
  });
  while (!holds) std::this_thread::yield();
  const Heartbeat& heartbeat = *thread.heartbeat();
  const std::uint64_t switches = heartbeat.switches;
  EXPECT_NE(heartbeat.running.load(), nullptr);
  const std::int64_t since = heartbeat.since;
  std::this_thread::sleep_for(2ms);
  EXPECT_EQ(heartbeat.switches, switches);
  EXPECT_EQ(heartbeat.since, since);
  EXPECT_LE(since, (Clock::now() - 2ms).time_since_epoch().count());
  over = true;
  hog.join();
  const Instant give_up = Clock::now() + 10s;
  while (heartbeat.running != nullptr && Clock::now() < give_up) std::this_thread::yield();
  EXPECT_EQ(heartbeat.running.load(), nullptr) << "it sleeps";
}

}  // namespace
}  // namespace penstock::fiber
