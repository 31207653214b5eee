#include "penstock/sync.h"

#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "penstock/fiber.h"
#include "penstock/queue.h"
#include "tests/unit/runtime/fiber/threads.h"

namespace penstock::fiber {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

// One wait of each primitive, on something that will not happen.
struct HopelessWaits {
  Mutex mutex;
  RecursiveMutex recursive;
  ConditionVariable condition;
  Semaphore semaphore{0};
  Event event;
  Queue<int> empty{1}, full{1};
  Channel<int> channel;

  HopelessWaits() { full.push(1); }

  // The mutexes are held by another fiber or thread meanwhile.
  std::vector<std::pair<std::string, std::function<void()>>> untimed() {
    return {{"mutex", [this] { mutex.lock(); }},
            {"recursive mutex", [this] { recursive.lock(); }},
            {"condition",
             [this] {
               Mutex own;
               std::unique_lock lock(own);
               try {
                 condition.wait(lock);
               } catch (...) {
                 EXPECT_TRUE(lock.owns_lock());
                 EXPECT_FALSE(own.try_lock());
                 throw;
               }
             }},
            {"semaphore", [this] { semaphore.acquire(); }},
            {"event", [this] { event.wait(); }},
            {"pop", [this] { empty.pop(); }},
            {"push", [this] { full.push(2); }},
            {"send", [this] { channel.send(1); }},
            {"receive", [this] { channel.receive(); }}};
  }
  // Whether it happened.
  std::vector<std::pair<std::string, std::function<bool(Instant)>>> timed() {
    return {{"mutex", [this](Instant t) { return mutex.try_lock_until(t); }},
            {"recursive mutex", [this](Instant t) { return recursive.try_lock_until(t); }},
            {"condition",
             [this](Instant t) {
               Mutex own;
               std::unique_lock lock(own);
               return condition.wait_until(lock, t) == std::cv_status::no_timeout;
             }},
            {"predicate",
             [this](Instant t) {
               Mutex own;
               std::unique_lock lock(own);
               return condition.wait_until(lock, t, [] { return false; });
             }},
            {"semaphore", [this](Instant t) { return semaphore.try_acquire_until(t); }},
            {"event", [this](Instant t) { return event.wait_until(t); }},
            {"pop", [this](Instant t) { return empty.pop_until(t).has_value(); }},
            {"push", [this](Instant t) { return full.push_until(2, t); }},
            {"send", [this](Instant t) { return channel.send_until(1, t); }},
            {"receive", [this](Instant t) { return channel.receive_until(t).has_value(); }}};
  }
  // None of them took anything, nor is left waiting.
  void check() {
    EXPECT_TRUE(mutex.try_lock());
    EXPECT_TRUE(recursive.try_lock());
    EXPECT_EQ(semaphore.available(), 0);
    semaphore.release();
    EXPECT_EQ(semaphore.available(), 1);
    EXPECT_FALSE(event.is_set());
    EXPECT_TRUE(empty.try_push(1));
    EXPECT_EQ(full.size(), 1u);
    EXPECT_EQ(full.pop(), 1);
    EXPECT_FALSE(channel.try_send(1));
    EXPECT_FALSE(channel.try_receive());
  }
};

// Holds the mutexes until destroyed.
class Holder {
 public:
  explicit Holder(HopelessWaits& waits)
      : thread_([this, &waits] {
          std::lock_guard one(waits.mutex);
          std::lock_guard other(waits.recursive);
          held_.set();
          done_.wait();
        }) {
    held_.wait();
  }
  ~Holder() {
    done_.set();
    thread_.join();
  }

 private:
  Event held_, done_;
  std::thread thread_;
};

TEST(Sync, EveryWaitEndsAtTheDeadlineOfTheFiber) {
  Threads threads;
  HopelessWaits waits;
  {
    Holder holder(waits);
    threads.run([&] {
      for (auto& [name, wait] : waits.untimed()) {
        DeadlineScope scope(Clock::now() + 2ms);
        EXPECT_THROW(wait(), DeadlineExceeded) << name;
      }
      for (auto& [name, wait] : waits.timed()) {
        DeadlineScope scope(Clock::now() + 2ms);
        EXPECT_THROW(wait(Instant::max()), DeadlineExceeded) << name;
      }
    });
  }
  waits.check();
}

TEST(Sync, EveryWaitEndsAtItsOwnTime) {
  Threads threads;
  HopelessWaits waits;
  {
    Holder holder(waits);
    const auto check = [&] {
      for (auto& [name, wait] : waits.timed()) {
        const Instant until = Clock::now() + 2ms;
        EXPECT_FALSE(wait(until)) << name;
        EXPECT_GE(Clock::now(), until) << name;
        EXPECT_FALSE(wait(Clock::now() - 1s)) << name;
      }
    };
    threads.run(check);
    check();
  }
  waits.check();
}

TEST(Sync, EveryWaitIsEndedByCancel) {
  Threads threads(2);
  HopelessWaits waits;
  {
    Holder holder(waits);
    for (auto& [name, wait] : waits.untimed()) {
      Event ready;
      bool cancelled = false;
      Fiber fiber = threads[0].spawn("waits", [&] {
        ready.set();
        try {
          wait();
        } catch (const Cancelled&) {
          cancelled = true;
        }
      });
      ready.wait();
      fiber.cancel();
      fiber.join();
      EXPECT_TRUE(cancelled) << name;
    }
  }
  waits.check();
}

TEST(Mutex, WhoWasOvertakenIsHandedIt) {
  Threads threads;
  threads.run([] {
    Mutex mutex;
    bool locked = false;
    mutex.lock();
    Fiber fiber = spawn("waits", [&] {
      std::lock_guard lock(mutex);
      locked = true;
    });
    yield();
    // It is woken, and finds the mutex taken again.
    mutex.unlock();
    mutex.lock();
    yield();
    EXPECT_FALSE(locked);
    mutex.unlock();
    EXPECT_FALSE(mutex.try_lock());
    fiber.join();
    EXPECT_TRUE(locked);
    EXPECT_TRUE(mutex.try_lock());
  });
}

TEST(Mutex, OvertakenAndCancelledLeavesItToTheNext) {
  Threads threads;
  threads.run([] {
    Mutex mutex;
    bool locked = false;
    mutex.lock();
    Fiber first = spawn("first", [&] { EXPECT_THROW(mutex.lock(), Cancelled); });
    Fiber second = spawn("second", [&] {
      std::lock_guard lock(mutex);
      locked = true;
    });
    yield();
    mutex.unlock();
    mutex.lock();
    yield();
    first.cancel();
    mutex.unlock();
    second.join();
    first.join();
    EXPECT_TRUE(locked);
    EXPECT_TRUE(mutex.try_lock());
  });
}

TEST(Mutex, IsHeldOverWaits) {
  Threads threads;
  threads.run([] {
    Mutex mutex;
    std::string order;
    Fiber one = spawn("one", [&] {
      std::lock_guard lock(mutex);
      order += "1";
      sleep_for(1ms);
      order += "1";
    });
    Fiber two = spawn("two", [&] {
      std::lock_guard lock(mutex);
      order += "2";
    });
    one.join();
    two.join();
    EXPECT_EQ(order, "112");
  });
}

TEST(RecursiveMutex, BelongsToOneFiber) {
  Threads threads;
  threads.run([] {
    RecursiveMutex mutex;
    std::lock_guard once(mutex);
    mutex.lock();
    EXPECT_TRUE(mutex.try_lock());
    mutex.unlock();
    mutex.unlock();
    bool other = true;
    spawn("other", [&] { other = mutex.try_lock(); }).join();
    EXPECT_FALSE(other);
  });
}

TEST(RecursiveMutex, BelongsToOnePlainThread) {
  RecursiveMutex mutex;
  std::lock_guard once(mutex);
  std::lock_guard twice(mutex);
  bool other = true;
  std::thread([&] { other = mutex.try_lock(); }).join();
  EXPECT_FALSE(other);
}

TEST(ConditionVariable, NotifiesInOrder) {
  Threads threads;
  threads.run([] {
    Mutex mutex;
    ConditionVariable condition;
    std::string order;
    std::vector<Fiber> fibers;
    for (char c = 'a'; c <= 'd'; ++c) {
      fibers.push_back(spawn("waits", [&, c] {
        std::unique_lock lock(mutex);
        condition.wait(lock);
        order += c;
      }));
    }
    yield();
    condition.notify_one();
    yield();
    EXPECT_EQ(order, "a");
    condition.notify_all();
    for (Fiber& fiber : fibers) fiber.join();
    EXPECT_EQ(order, "abcd");
  });
}

TEST(ConditionVariable, CancelledWaitTakesTheMutexAgainFirst) {
  Threads threads;
  threads.run([] {
    Mutex mutex;
    ConditionVariable condition;
    bool inside = false, ended = false;
    Fiber fiber = spawn("waits", [&] {
      std::unique_lock lock(mutex);
      DeadlineScope scope(Clock::now() + 1h);
      EXPECT_THROW(condition.wait(lock), Cancelled);
      EXPECT_FALSE(inside);
      ended = true;
    });
    yield();
    {
      std::lock_guard lock(mutex);
      inside = true;
      fiber.cancel();
      sleep_for(2ms);
      EXPECT_FALSE(ended);
      inside = false;
    }
    fiber.join();
    EXPECT_TRUE(ended);
  });
}

TEST(ConditionVariable, NeedsTheMutex) {
  Mutex mutex;
  std::unique_lock lock(mutex, std::defer_lock);
  EXPECT_THROW(ConditionVariable().wait(lock), std::system_error);
}

TEST(Semaphore, GoesToTheLongestWait) {
  Threads threads;
  threads.run([] {
    Semaphore semaphore(1);
    EXPECT_TRUE(semaphore.try_acquire());
    EXPECT_FALSE(semaphore.try_acquire());
    std::string order;
    std::vector<Fiber> fibers;
    for (char c = 'a'; c <= 'd'; ++c) {
      fibers.push_back(spawn("waits", [&, c] {
        semaphore.acquire();
        order += c;
      }));
    }
    yield();
    semaphore.release();
    // It is the first one's already.
    EXPECT_FALSE(semaphore.try_acquire());
    fibers[1].cancel();
    semaphore.release(4);
    EXPECT_THROW(fibers[1].join(), Cancelled);
    for (char i : {0, 2, 3}) fibers[static_cast<unsigned>(i)].join();
    EXPECT_EQ(order, "acd");
    EXPECT_EQ(semaphore.available(), 2);
  });
}

TEST(Semaphore, RefusesNonsense) {
  EXPECT_THROW(Semaphore(-1), std::invalid_argument);
  Semaphore semaphore(0);
  EXPECT_THROW(semaphore.release(0), std::invalid_argument);
  EXPECT_THROW(semaphore.release(-1), std::invalid_argument);
}

TEST(Event, SetAndResetAtOnceEndsTheWaitsThatWere) {
  Threads threads;
  threads.run([] {
    Event event;
    int woken = 0;
    std::vector<Fiber> fibers;
    for (int i = 0; i < 5; ++i) {
      fibers.push_back(spawn("waits", [&] {
        event.wait();
        ++woken;
      }));
    }
    yield();
    event.set();
    event.reset();
    for (Fiber& fiber : fibers) fiber.join();
    EXPECT_EQ(woken, 5);
    EXPECT_FALSE(event.is_set());
    EXPECT_FALSE(event.wait_until(Clock::now()));
    event.set();
    event.wait();
  });
}

TEST(Event, OfAPlainThreadWakesFibersOfAllThreads) {
  Threads threads(4);
  Event event;
  std::vector<std::function<void()>> joins;
  for (unsigned i = 0; i < 16; ++i) joins.push_back(threads.start([&] { event.wait(); }, i % 4));
  event.set();
  for (auto& join : joins) join();
}

}  // namespace
}  // namespace penstock::fiber
