#include <gtest/gtest.h>

#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>

#include "penstock/sync.h"
#include "tests/unit/runtime/fiber/threads.h"

// What is shared may go as soon as the last wait has returned, while the call that ended it is still on its way out.
namespace penstock::fiber {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

constexpr int kRounds = 2000;

TEST(SyncLifetime, SemaphoreOfWhoeverTakesTheLastPermit) {
  Threads threads;
  for (int round = 0; round < kRounds; ++round) {
    auto* semaphore = new Semaphore(0);
    const auto join = threads.start([&] { semaphore->release(); });
    // Waits that end at their time leave the slow path to the release.
    while (!semaphore->try_acquire_until(Clock::now() + std::chrono::microseconds(round % 7))) {
    }
    delete semaphore;
    join();
  }
}

TEST(SyncLifetime, MutexOfTheLastHolder) {
  Threads threads;
  for (int round = 0; round < kRounds; ++round) {
    auto* mutex = new Mutex;
    mutex->lock();
    const auto join = threads.start([&] {
      while (!mutex->try_lock_until(Clock::now() + std::chrono::microseconds(round % 7))) {
      }
      mutex->unlock();
      delete mutex;
    });
    if (round % 2 == 0) std::this_thread::yield();
    mutex->unlock();
    join();
  }
}

TEST(SyncLifetime, EventOfTheLastWait) {
  Threads threads;
  for (int round = 0; round < kRounds; ++round) {
    auto event = std::make_unique<Event>();
    const auto join = threads.start([&] { event->set(); });
    event->wait();
    event.reset();
    join();
  }
}

}  // namespace
}  // namespace penstock::fiber
