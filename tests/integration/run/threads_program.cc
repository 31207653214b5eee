// What a program may do with threads, through <pthread.h> and the C++ library. Prints what it has seen, which must not
// depend on what its threads are.
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <future>
#include <mutex>
#include <thread>
#include <vector>

namespace {

#define CHECK(condition)                                             \
  do {                                                               \
    if (!(condition)) {                                              \
      printf("%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
      fflush(stdout);                                                \
      _exit(1);                                                      \
    }                                                                \
  } while (false)

template <class F>
void in_threads(int count, F&& fn) {
  std::vector<std::thread> threads;
  for (int i = 0; i < count; ++i) threads.emplace_back([&fn, i] { fn(i); });
  for (std::thread& thread : threads) thread.join();
}

timespec milliseconds_from_now(clockid_t clock, long milliseconds) {
  timespec at;
  clock_gettime(clock, &at);
  at.tv_nsec += milliseconds * 1'000'000;
  at.tv_sec += at.tv_nsec / 1'000'000'000;
  at.tv_nsec %= 1'000'000'000;
  return at;
}

void* start(void* (*fn)(void*), void* argument = nullptr) {
  pthread_t thread;
  void* result = nullptr;
  CHECK(pthread_create(&thread, nullptr, fn, argument) == 0);
  CHECK(pthread_join(thread, &result) == 0);
  return result;
}

void many_sleep_at_once() {
  std::atomic<int> woken = 0;
  in_threads(1000, [&](int) {
    usleep(200'000);
    ++woken;
  });
  CHECK(woken == 1000);
}

void a_mutex_is_held_over_waits() {
  std::mutex mutex;
  int inside = 0;
  in_threads(50, [&](int) {
    for (int i = 0; i < 5; ++i) {
      const std::lock_guard lock(mutex);
      CHECK(++inside == 1);
      usleep(100);
      --inside;
    }
  });
  std::recursive_mutex recursive;
  in_threads(20, [&](int) {
    const std::lock_guard once(recursive);
    const std::lock_guard again(recursive);
    CHECK(++inside == 1);
    usleep(500);
    --inside;
  });
}

void who_locks_again_at_once_starves_nobody() {
  std::mutex mutex;
  std::atomic<bool> stop = false;
  std::thread greedy([&] {
    while (!stop) {
      const std::lock_guard lock(mutex);
      usleep(500);
    }
  });
  for (int i = 0; i < 5; ++i) {
    usleep(100);
    const std::lock_guard lock(mutex);
  }
  stop = true;
  greedy.join();
}

void mutexes_know_their_owner() {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_ERRORCHECK);
  pthread_mutex_t mutex;
  pthread_mutex_init(&mutex, &attributes);
  CHECK(pthread_mutex_lock(&mutex) == 0);
  CHECK(pthread_mutex_lock(&mutex) == EDEADLK);
  in_threads(1, [&](int) {
    CHECK(pthread_mutex_unlock(&mutex) == EPERM);
    CHECK(pthread_mutex_trylock(&mutex) == EBUSY);
    const timespec soon = milliseconds_from_now(CLOCK_REALTIME, 10);
    CHECK(pthread_mutex_timedlock(&mutex, &soon) == ETIMEDOUT);
  });
  CHECK(pthread_mutex_destroy(&mutex) == EBUSY);
  CHECK(pthread_mutex_unlock(&mutex) == 0);
  CHECK(pthread_mutex_destroy(&mutex) == 0);
}

void mutexes_are_shared_and_robust() {
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  pthread_mutexattr_settype(&attributes, PTHREAD_MUTEX_RECURSIVE);
  pthread_mutex_t mutex;
  pthread_mutex_init(&mutex, &attributes);
  int inside = 0;
  in_threads(10, [&](int) {
    CHECK(pthread_mutex_lock(&mutex) == 0);
    CHECK(pthread_mutex_lock(&mutex) == 0);
    CHECK(++inside == 1);
    usleep(500);
    --inside;
    CHECK(pthread_mutex_unlock(&mutex) == 0);
    CHECK(pthread_mutex_unlock(&mutex) == 0);
  });
}

void conditions_and_futures() {
  std::mutex mutex;
  std::condition_variable condition;
  bool go = false;
  std::thread waits([&] {
    std::unique_lock lock(mutex);
    condition.wait(lock, [&] { return go; });
  });
  usleep(1000);
  {
    const std::lock_guard lock(mutex);
    go = true;
  }
  condition.notify_one();
  waits.join();
  std::unique_lock lock(mutex);
  CHECK(condition.wait_for(lock, std::chrono::milliseconds(20)) == std::cv_status::timeout);

  std::promise<int> promise;
  std::future<int> promised = promise.get_future();
  std::thread keeps([&] {
    usleep(20'000);
    promise.set_value(7);
  });
  CHECK(promised.wait_for(std::chrono::milliseconds(1)) == std::future_status::timeout);
  CHECK(promised.get() == 7);
  keeps.join();

  std::atomic<int> value = 0;
  std::thread changes([&] {
    usleep(2000);
    value = 1;
    value.notify_all();
  });
  value.wait(0);
  CHECK(value == 1);
  changes.join();

  std::once_flag once;
  int calls = 0;
  in_threads(10, [&](int i) {
    try {
      std::call_once(once, [&] {
        usleep(1000);
        if (++calls == 1) throw i;
      });
    } catch (int) {
    }
  });
  CHECK(calls == 2);
}

void locks_semaphores_barriers() {
  pthread_rwlock_t rwlock = PTHREAD_RWLOCK_INITIALIZER;
  std::atomic<int> readers = 0;
  int most_readers = 0;
  in_threads(20, [&](int i) {
    if (i % 2 == 0) {
      CHECK(pthread_rwlock_rdlock(&rwlock) == 0);
      most_readers = std::max(most_readers, ++readers);
      usleep(2000);
      --readers;
    } else {
      CHECK(pthread_rwlock_wrlock(&rwlock) == 0);
      CHECK(readers == 0);
      usleep(100);
      CHECK(readers == 0);
    }
    CHECK(pthread_rwlock_unlock(&rwlock) == 0);
  });
  CHECK(most_readers > 1);

  sem_t semaphore;
  sem_init(&semaphore, 0, 0);
  std::thread posts([&] {
    usleep(1000);
    sem_post(&semaphore);
  });
  CHECK(sem_wait(&semaphore) == 0);
  posts.join();
  const timespec soon = milliseconds_from_now(CLOCK_REALTIME, 1);
  CHECK(sem_timedwait(&semaphore, &soon) == -1 && errno == ETIMEDOUT);

  pthread_barrier_t barrier;
  pthread_barrier_init(&barrier, nullptr, 10);
  std::atomic<int> serial = 0;
  in_threads(10, [&](int) {
    for (int round = 0; round < 3; ++round) {
      if (pthread_barrier_wait(&barrier) == PTHREAD_BARRIER_SERIAL_THREAD) ++serial;
    }
  });
  CHECK(serial == 3);
  CHECK(pthread_barrier_destroy(&barrier) == 0);

  pthread_spinlock_t spin;
  pthread_spin_init(&spin, PTHREAD_PROCESS_PRIVATE);
  in_threads(5, [&](int) {
    pthread_spin_lock(&spin);
    usleep(100);
    pthread_spin_unlock(&spin);
  });
}

std::atomic<int> destroyed = 0;

void values_and_errno_of_a_thread() {
  pthread_key_t key;
  CHECK(pthread_key_create(&key, [](void* value) { destroyed += static_cast<int>(reinterpret_cast<long>(value)); }) ==
        0);
  in_threads(10, [&](int i) {
    void* mine = reinterpret_cast<void*>(static_cast<long>(i + 1));
    CHECK(pthread_getspecific(key) == nullptr);
    pthread_setspecific(key, mine);
    errno = i;
    usleep(1000);
    CHECK(pthread_getspecific(key) == mine);
    CHECK(errno == i);
  });
  CHECK(destroyed == 55);
  CHECK(pthread_key_delete(key) == 0);
  in_threads(1, [&](int) {
    pthread_attr_t attributes;
    void* lowest;
    size_t bytes;
    char here = 0;
    CHECK(pthread_getattr_np(pthread_self(), &attributes) == 0);
    CHECK(pthread_attr_getstack(&attributes, &lowest, &bytes) == 0);
    CHECK(&here > lowest && &here < static_cast<char*>(lowest) + bytes);
    char name[16];
    CHECK(pthread_setname_np(pthread_self(), "worker") == 0);
    CHECK(pthread_getname_np(pthread_self(), name, sizeof name) == 0 && std::string(name) == "worker");
  });
}

int cleaned = 0;

void many_keys() {
  constexpr int kKeys = 200;
  static std::atomic<int> seen;
  seen = 0;
  std::vector<pthread_key_t> keys(kKeys);
  for (pthread_key_t& key : keys)
    CHECK(pthread_key_create(&key, [](void* value) { seen += *static_cast<int*>(value); }) == 0);
  in_threads(5, [&](int thread) {
    std::vector<int>& values = *new std::vector<int>(kKeys, 1);
    for (int i = 0; i < kKeys; ++i) CHECK(pthread_getspecific(keys[static_cast<size_t>(i)]) == nullptr);
    for (int i = thread; i < kKeys; i += 3)
      CHECK(pthread_setspecific(keys[static_cast<size_t>(i)], &values[static_cast<size_t>(i)]) == 0);
    usleep(1000);
    for (int i = 0; i < kKeys; ++i) {
      void* mine = i >= thread && (i - thread) % 3 == 0 ? &values[static_cast<size_t>(i)] : nullptr;
      CHECK(pthread_getspecific(keys[static_cast<size_t>(i)]) == mine);
    }
  });
  CHECK(seen == 67 + 67 + 66 + 66 + 66);
  for (pthread_key_t key : keys) CHECK(pthread_key_delete(key) == 0);
}

void cancellation() {
  for (void* (*fn)(void*) : {+[](void*) -> void* {
                               pthread_cleanup_push([](void*) { ++cleaned; }, nullptr);
                               for (;;) sleep(100);
                               pthread_cleanup_pop(0);
                             },
                             +[](void*) -> void* {
                               struct Cleans {
                                 ~Cleans() { ++cleaned; }
                               } cleans;
                               sem_t never;
                               sem_init(&never, 0, 0);
                               for (;;) sem_wait(&never);
                             },
                             +[](void*) -> void* {
                               pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, nullptr);
                               usleep(10'000);
                               ++cleaned;
                               pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, nullptr);
                               pthread_testcancel();
                               return nullptr;
                             }}) {
    pthread_t thread;
    void* result;
    const int before = cleaned;
    CHECK(pthread_create(&thread, nullptr, fn, nullptr) == 0);
    usleep(1000);
    CHECK(pthread_tryjoin_np(thread, &result) == EBUSY);
    CHECK(pthread_cancel(thread) == 0);
    CHECK(pthread_join(thread, &result) == 0);
    CHECK(result == PTHREAD_CANCELED);
    CHECK(cleaned == before + 1);
  }
  CHECK(start([](void*) -> void* {
          struct Cleans {
            ~Cleans() { ++cleaned; }
          } cleans;
          pthread_exit(reinterpret_cast<void*>(3));
        }) == reinterpret_cast<void*>(3));
  CHECK(cleaned == 4);
}

std::atomic<int> signals = 0;

void signals_interrupt() {
  struct sigaction action {};
  action.sa_handler = [](int) { ++signals; };
  CHECK(sigaction(SIGUSR1, &action, nullptr) == 0);
  // Threads that block it do not take it.
  std::thread blocks([] {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    CHECK(usleep(50'000) == 0);
  });
  usleep(1000);
  std::thread sends([] {
    sigset_t set;
    sigfillset(&set);
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    usleep(10'000);
    kill(getpid(), SIGUSR1);
  });
  CHECK(sleep(5) != 0);
  CHECK(signals == 1);
  sends.join();
  blocks.join();
}

void forks() {
  const auto fork_and_wait = [] {
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
      std::thread([] { usleep(100); }).join();
      _exit(7);
    }
    int status = 0;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 7);
  };
  fork_and_wait();
  in_threads(3, [&](int) { fork_and_wait(); });
}

}  // namespace

int main() {
  const pthread_t self = pthread_self();
  const struct {
    const char* name;
    void (*fn)();
  } parts[] = {{"sleeps", many_sleep_at_once},
               {"mutexes", a_mutex_is_held_over_waits},
               {"fairness", who_locks_again_at_once_starves_nobody},
               {"owners", mutexes_know_their_owner},
               {"shared mutexes", mutexes_are_shared_and_robust},
               {"conditions", conditions_and_futures},
               {"locks", locks_semaphores_barriers},
               {"values", values_and_errno_of_a_thread},
               {"many keys", many_keys},
               {"cancellation", cancellation},
               {"signals", signals_interrupt},
               {"forks", forks}};
  for (const auto& part : parts) {
    part.fn();
    CHECK(pthread_equal(self, pthread_self()));
    printf("%s\n", part.name);
  }
  return 0;
}
