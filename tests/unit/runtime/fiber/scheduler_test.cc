#include "runtime/fiber/scheduler.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <exception>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "penstock/fiber.h"
#include "runtime/fiber/waiter.h"
#include "tests/unit/runtime/fiber/threads.h"

namespace penstock::fiber {
namespace {

using namespace std::chrono_literals;

// Throws, and waits in the handler while the other fibers do the same; each must see its own exception throughout.
void throw_and_wait(const std::string& mine, int depth) {
  try {
    throw std::runtime_error(mine + std::to_string(depth));
  } catch (const std::runtime_error& e) {
    const std::string expected = mine + std::to_string(depth);
    penstock::yield();
    EXPECT_EQ(e.what(), expected);
    if (depth > 0) throw_and_wait(mine, depth - 1);
    sleep_for(std::chrono::microseconds(depth * 100));
    try {
      throw;  // The one being handled here, whatever others handle.
    } catch (const std::runtime_error& again) {
      EXPECT_EQ(again.what(), expected);
      penstock::yield();
    }
    EXPECT_EQ(std::uncaught_exceptions(), 0);
  }
}

TEST(Scheduler, EachFiberHandlesItsOwnExceptions) {
  Threads threads;
  threads.run([] {
    std::vector<Fiber> fibers;
    for (const char* name : {"a", "b", "c", "d"}) {
      fibers.push_back(spawn(name, [name] {
        for (int i = 0; i < 20; ++i) throw_and_wait(name, i % 4);
      }));
    }
    for (Fiber& fiber : fibers) fiber.join();
  });
}

TEST(Scheduler, RethrowAfterAnotherFiberHandledItsOwn) {
  Threads threads;
  threads.run([] {
    Fiber first = spawn("first", [] {
      try {
        throw std::runtime_error("first");
      } catch (...) {
        sleep_for(5ms);
        EXPECT_STREQ(
            [] {
              try {
                throw;
              } catch (const std::exception& e) {
                return e.what();
              }
            }(),
            "first");
      }
      EXPECT_EQ(std::current_exception(), nullptr);
    });
    Fiber second = spawn("second", [] {
      try {
        throw std::logic_error("second");
      } catch (...) {
        // Ends its handling while the first is still in its own.
        sleep_for(2ms);
      }
      EXPECT_EQ(std::current_exception(), nullptr);
    });
    first.join();
    second.join();
  });
}

TEST(Scheduler, WaitWhileAnExceptionUnwinds) {
  struct Waits {
    ~Waits() {
      EXPECT_EQ(std::uncaught_exceptions(), 1);
      CancelShield shield;
      sleep_for(2ms);
      EXPECT_EQ(std::uncaught_exceptions(), 1);
    }
  };
  Threads threads;
  threads.run([] {
    Fiber unwinding = spawn("unwinding", [] {
      Waits waits;
      throw std::runtime_error("unwinding");
    });
    Fiber other = spawn("other", [] { EXPECT_EQ(std::uncaught_exceptions(), 0); });
    other.join();
    EXPECT_THROW(unwinding.join(), std::runtime_error);
  });
}

TEST(Scheduler, EachFiberHasItsErrno) {
  Threads threads;
  threads.run([] {
    Fiber other = spawn("other", [] {
      ::close(-1);
      penstock::yield();
      EXPECT_EQ(errno, EBADF);
    });
    errno = ENOENT;
    penstock::yield();
    EXPECT_EQ(errno, ENOENT);
    other.join();
  });
}

TEST(Scheduler, ReadyFibersTakeTurns) {
  Threads threads;
  threads.run([] {
    std::string order;
    std::vector<Fiber> fibers;
    for (char c : {'a', 'b', 'c'}) {
      fibers.push_back(spawn("turn", [&order, c] {
        for (int i = 0; i < 3; ++i) {
          order += c;
          penstock::yield();
        }
      }));
    }
    for (Fiber& fiber : fibers) fiber.join();
    EXPECT_EQ(order, "abcabcabc");
  });
}

TEST(Scheduler, BusyFibersDoNotStarveTimersNorOtherThreads) {
  Threads threads;
  std::atomic<bool> stop = false;
  auto wait = threads.start([&] {
    std::vector<Fiber> fibers;
    for (int i = 0; i < 3; ++i) {
      fibers.push_back(spawn("busy", [&] {
        while (!stop) penstock::yield();
      }));
    }
    sleep_for(5ms);
    for (Fiber& fiber : fibers) fiber.join();
  });
  Fiber posted = threads[0].spawn("posted", [&] {
    sleep_for(5ms);
    stop = true;
  });
  wait();
}

TEST(Scheduler, RunDelayIsTold) {
  std::vector<Duration> delays;
  {
    SchedulerThread thread({.run_delay = [&](Duration d, std::uint64_t) { delays.push_back(d); }});
    std::promise<void> done;
    thread.spawn("first", [&] {
      spawn("second", [&] { done.set_value(); });
      const auto until = std::chrono::steady_clock::now() + 20ms;
      while (std::chrono::steady_clock::now() < until) {
      }
    });
    done.get_future().get();
  }
  EXPECT_GE(*std::max_element(delays.begin(), delays.end()), 15ms);
}

// Many waits ended from other threads, at every moment of their life.
TEST(Scheduler, RemoteNotifyStress) {
  constexpr unsigned kThreads = 4;
  constexpr int kRounds = 20'000;
  struct Slot {
    std::mutex mutex;
    Waiter* waiter = nullptr;
  };
  Threads threads(kThreads);
  std::vector<Slot> slots(kThreads);
  std::atomic<unsigned> running{kThreads};
  std::atomic<std::uint64_t> notified{0}, timed_out{0};
  std::vector<std::function<void()>> waits;
  for (unsigned me = 0; me < kThreads; ++me) {
    waits.push_back(threads.start(
        [&, me] {
          Fiber waiting = spawn("waiting", [&, me] {
            for (int i = 0; i < kRounds; ++i) {
              Waiter waiter;
              {
                std::lock_guard lock(slots[me].mutex);
                slots[me].waiter = &waiter;
              }
              // Some deadlines race with the notifications.
              const Wake why = waiter.wait(i % 3 == 0 ? std::chrono::steady_clock::now() + 20us : Instant::max());
              {
                std::lock_guard lock(slots[me].mutex);
                slots[me].waiter = nullptr;
              }
              ++(why == Wake::notified ? notified : timed_out);
            }
            --running;
          });
          // Notifies the others until all have had their rounds.
          for (unsigned next = me; running != 0; ++next) {
            Slot& slot = slots[next % kThreads];
            {
              std::lock_guard lock(slot.mutex);
              if (slot.waiter != nullptr) slot.waiter->notify();
            }
            penstock::yield();
          }
          waiting.join();
        },
        me));
  }
  for (auto& wait : waits) wait();
  EXPECT_EQ(notified + timed_out, std::uint64_t{kThreads} * kRounds);
  EXPECT_GT(notified.load(), 0u);
}

TEST(Scheduler, SleepingThreadIsWokenFromAPlainThread) {
  Threads threads;
  for (int i = 0; i < 2'000; ++i) threads.run([] {});
}

}  // namespace
}  // namespace penstock::fiber
