#include <pthread.h>
#include <semaphore.h>
#include <time.h>

#include <array>
#include <atomic>
#include <future>
#include <thread>
#include <vector>

#include "runtime/fiber/plain_calls.h"
#include "tests/unit/runtime/interpose/fixture.h"

namespace penstock::interpose {
namespace {

timespec in_seconds(int seconds) {
  timespec at;
  ::clock_gettime(CLOCK_REALTIME, &at);
  at.tv_sec += seconds;
  return at;
}

// A fiber that is given a mutex has it before it goes on; it cannot go on while the runtime's own work on its thread
// waits for the same mutex, say to write a line of the log.
TEST(Locks, TheRuntimesOwnWorkDoesNotWaitForAFiberThatWaitsForIt) {
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  std::atomic<int> step{0};
  const auto wait_for = [&](int which) {
    while (step != which) std::this_thread::yield();
  };
  std::thread other([&] {
    ::pthread_mutex_lock(&mutex);
    step = 1;
    wait_for(2);
    // Free for a moment, in which the fiber cannot run.
    ::pthread_mutex_unlock(&mutex);
    ::pthread_mutex_lock(&mutex);
    step = 3;
    wait_for(4);
    // Given to the fiber, which was overtaken.
    ::pthread_mutex_unlock(&mutex);
    step = 5;
  });
  on_fiber([&] {
    wait_for(1);
    bool had_it = false;
    Fiber waiting = spawn("waiting", [&] {
      ::pthread_mutex_lock(&mutex);
      had_it = true;
      ::pthread_mutex_unlock(&mutex);
    });
    sleep_for(milliseconds(1));
    const auto without_a_switch = [&](int go, int done) {
      const fiber::PlainCalls plain;
      step = go;
      while (step != done) ::usleep(100);
    };
    without_a_switch(2, 3);
    sleep_for(milliseconds(1));
    EXPECT_FALSE(had_it);
    without_a_switch(4, 5);
    {
      const fiber::PlainCalls plain;
      const timespec at = in_seconds(2);
      ASSERT_EQ(::pthread_mutex_timedlock(&mutex, &at), 0);
      EXPECT_FALSE(had_it);
      ::pthread_mutex_unlock(&mutex);
    }
    waiting.join();
    EXPECT_TRUE(had_it);
  });
  other.join();
  EXPECT_EQ(::pthread_mutex_destroy(&mutex), 0);
}

// What fibers of several threads and plain threads guard with the same lock needs no other: it is also what
// ThreadSanitizer looks at.
class LocksOnThreads : public ::testing::TestWithParam<unsigned> {
 protected:
  static constexpr int kFibers = 4;
  static constexpr int kPlain = 2;
  static constexpr int kRounds = 20;

  int callers() const { return static_cast<int>(GetParam()) * kFibers + kPlain; }

  // On so many fibers of each thread and on plain threads, at once; each gets a number.
  void everywhere(const std::function<void(int)>& fn) {
    fiber::Threads threads(GetParam());
    std::vector<std::function<void()>> ends;
    std::vector<std::thread> plain;
    for (int i = 0; i < callers() - kPlain; ++i) {
      ends.push_back(threads.start([&fn, i] { fn(i); }, static_cast<unsigned>(i) % threads.size()));
    }
    for (int i = callers() - kPlain; i < callers(); ++i) plain.emplace_back([&fn, i] { fn(i); });
    for (std::thread& one : plain) one.join();
    for (auto& end : ends) end();
  }

  static void wait_sometimes(int round) {
    if (round % 5 == 0) ::usleep(20);
  }
};
INSTANTIATE_TEST_SUITE_P(Of, LocksOnThreads, ::testing::Values(1u, 2u, 4u, 8u));

TEST_P(LocksOnThreads, AMutexIsHeldOverWaits) {
  for (const int type : {PTHREAD_MUTEX_NORMAL, PTHREAD_MUTEX_RECURSIVE, PTHREAD_MUTEX_ERRORCHECK}) {
    pthread_mutexattr_t attributes;
    ::pthread_mutexattr_init(&attributes);
    ::pthread_mutexattr_settype(&attributes, type);
    pthread_mutex_t mutex;
    ::pthread_mutex_init(&mutex, &attributes);
    int count = 0;
    everywhere([&](int) {
      for (int round = 0; round < kRounds; ++round) {
        EXPECT_EQ(::pthread_mutex_lock(&mutex), 0);
        const int before = count;
        wait_sometimes(round);
        count = before + 1;
        EXPECT_EQ(::pthread_mutex_unlock(&mutex), 0);
      }
    });
    EXPECT_EQ(count, callers() * kRounds);
    EXPECT_EQ(::pthread_mutex_destroy(&mutex), 0);
  }
}

TEST_P(LocksOnThreads, ReadersSeeWhatAWriterWroteOrNothingOfIt) {
  pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;
  int one = 0, other = 0;
  everywhere([&](int caller) {
    for (int round = 0; round < kRounds; ++round) {
      if (caller % 3 == 0) {
        EXPECT_EQ(::pthread_rwlock_wrlock(&lock), 0);
        ++one;
        wait_sometimes(round);
        ++other;
      } else {
        EXPECT_EQ(::pthread_rwlock_rdlock(&lock), 0);
        wait_sometimes(round);
        EXPECT_EQ(one, other);
      }
      EXPECT_EQ(::pthread_rwlock_unlock(&lock), 0);
    }
  });
  EXPECT_EQ(one, (callers() + 2) / 3 * kRounds);
  EXPECT_EQ(::pthread_rwlock_destroy(&lock), 0);
}

TEST_P(LocksOnThreads, ASemaphoreLetsOneIn) {
  sem_t semaphore;
  ::sem_init(&semaphore, 0, 1);
  int count = 0;
  everywhere([&](int) {
    for (int round = 0; round < kRounds; ++round) {
      EXPECT_EQ(::sem_wait(&semaphore), 0);
      const int before = count;
      wait_sometimes(round);
      count = before + 1;
      EXPECT_EQ(::sem_post(&semaphore), 0);
    }
  });
  EXPECT_EQ(count, callers() * kRounds);
  ::sem_destroy(&semaphore);
}

TEST_P(LocksOnThreads, EachTakesItsTurnByACondition) {
  pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
  pthread_cond_t turned = PTHREAD_COND_INITIALIZER;
  int turn = 0;
  everywhere([&](int caller) {
    for (int round = 0; round < kRounds; ++round) {
      ::pthread_mutex_lock(&mutex);
      while (turn % callers() != caller) EXPECT_EQ(::pthread_cond_wait(&turned, &mutex), 0);
      ++turn;
      ::pthread_cond_broadcast(&turned);
      ::pthread_mutex_unlock(&mutex);
    }
  });
  EXPECT_EQ(turn, callers() * kRounds);
  EXPECT_EQ(::pthread_cond_destroy(&turned), 0);
}

TEST_P(LocksOnThreads, ABarrierShowsAllWhatEachHasDone) {
  pthread_barrier_t barrier;
  ASSERT_EQ(::pthread_barrier_init(&barrier, nullptr, static_cast<unsigned>(callers())), 0);
  std::vector<int> done(static_cast<std::size_t>(callers()));
  std::atomic<int> last{0};
  everywhere([&](int caller) {
    for (int round = 1; round <= kRounds; ++round) {
      done[static_cast<std::size_t>(caller)] = round;
      if (::pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD) ++last;
      for (const int each : done) EXPECT_EQ(each, round);
      ::pthread_barrier_wait(&barrier);
    }
  });
  EXPECT_EQ(last, kRounds);
  EXPECT_EQ(::pthread_barrier_destroy(&barrier), 0);
}

int made_once = 0;

TEST_P(LocksOnThreads, WhatIsDoneOnceIsDoneForAll) {
  pthread_once_t control = PTHREAD_ONCE_INIT;
  made_once = 0;
  everywhere([&](int) {
    EXPECT_EQ(::pthread_once(&control,
                             [] {
                               ::usleep(1000);
                               ++made_once;
                             }),
              0);
    EXPECT_EQ(made_once, 1);
  });
}

TEST_P(LocksOnThreads, AFutureIsWaitedFor) {
  std::array<std::promise<int>, kRounds> promises;
  std::vector<std::shared_future<int>> futures;
  for (auto& promise : promises) futures.push_back(promise.get_future().share());
  everywhere([&](int caller) {
    for (std::size_t round = 0; round < kRounds; ++round) {
      if (static_cast<int>(round) % callers() == caller) promises[round].set_value(static_cast<int>(round));
      const std::shared_future<int> mine = futures[round];
      EXPECT_EQ(mine.get(), static_cast<int>(round));
    }
  });
}

}  // namespace
}  // namespace penstock::interpose
