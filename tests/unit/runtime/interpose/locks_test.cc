#include <pthread.h>
#include <time.h>

#include <atomic>
#include <thread>

#include "runtime/fiber/plain_calls.h"
#include "tests/unit/runtime/interpose/fixture.h"

// Sanitizers have functions of pthread of their own.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

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

}  // namespace
}  // namespace penstock::interpose

#endif
