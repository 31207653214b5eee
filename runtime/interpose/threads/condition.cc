#include <dlfcn.h>
#include <pthread.h>

#include <atomic>
#include <cerrno>
#include <cstring>

#include "runtime/interpose/interposed.h"
#include "runtime/interpose/real.h"
#include "runtime/interpose/threads/clock.h"
#include "runtime/interpose/threads/mutex.h"
#include "runtime/interpose/threads/parking.h"
#include "runtime/interpose/threads/program_thread.h"

namespace penstock::interpose {
namespace {

// The C library's word for who waits: two flags that pthread_cond_init() sets, and above them a count, which is ours.
constexpr unsigned kShared = 1;
constexpr unsigned kMonotonic = 2;
constexpr unsigned kOneWaiter = 8;

std::atomic_ref<unsigned> word(pthread_cond_t* condition) noexcept {
  return std::atomic_ref<unsigned>(condition->__data.__wrefs);
}
bool is_shared(pthread_cond_t* condition) noexcept {
  return (word(condition).load(std::memory_order_relaxed) & kShared) != 0;
}
bool has_waiters(pthread_cond_t* condition) noexcept {
  return word(condition).load(std::memory_order_acquire) >= kOneWaiter;
}

// Shared between processes: nobody here can be told of a signal, so whoever waits looks from time to time, which a
// condition's waits may always do.
int wait_shared(pthread_mutex_t* mutex, Instant until) noexcept {
  const int error = unlock_mutex(mutex);
  if (error != 0) return error;
  Backoff backoff;
  bool in_time = true;
  for (int i = 0; in_time && i < 10; ++i) in_time = backoff.wait(until);
  const int locked = lock_mutex(mutex, Instant::max());
  return locked != 0 ? locked : in_time ? 0 : ETIMEDOUT;
}

int wait(pthread_cond_t* condition, pthread_mutex_t* mutex, Instant until) {
  Cancellable cancellable;
  if (is_shared(condition)) {
    const int error = wait_shared(mutex, until);
    return error;
  }
  Parking parking(condition, "a condition");
  Parking::End end = Parking::End::interrupted;
  if (cancellable.begin(parking)) {
    {
      ParkingLock lock(condition);
      word(condition).fetch_add(kOneWaiter, std::memory_order_relaxed);
      parking.join(lock);
    }
    const int error = unlock_mutex(mutex);
    if (error != 0) parking.interrupt();
    end = parking.wait(until, [condition] { word(condition).fetch_sub(kOneWaiter, std::memory_order_relaxed); });
    cancellable.end();
    if (error != 0) return error;
    int locked;
    do {
      locked = lock_mutex(mutex, Instant::max());
    } while (locked == EINTR);
    if (locked != 0) return locked;
  }
  if (end == Parking::End::interrupted) cancellable.act();
  return end == Parking::End::timed_out ? ETIMEDOUT : 0;
}

int wait_until(pthread_cond_t* condition, pthread_mutex_t* mutex, clockid_t clock, const timespec* at) {
  const auto until = instant_of(clock, *at);
  return until ? wait(condition, mutex, *until) : EINVAL;
}

void wake(pthread_cond_t* condition, bool all) noexcept {
  ParkingLock lock(condition);
  while (Parking* longest = lock.first()) {
    word(condition).fetch_sub(kOneWaiter, std::memory_order_relaxed);
    if (lock.wake(*longest) && !all) return;
  }
}

// Its oldest version, which a plain look-up may find, has another layout.
template <class F>
F* shared_function(const char* name) noexcept {
  return reinterpret_cast<F*>(::dlvsym(RTLD_NEXT, name, "GLIBC_2.3.2"));
}

}  // namespace
}  // namespace penstock::interpose

using namespace penstock;
using namespace penstock::interpose;

PENSTOCK_INTERPOSED int pthread_cond_init(pthread_cond_t* condition, const pthread_condattr_t* attributes) noexcept {
  std::memset(condition, 0, sizeof *condition);
  if (attributes == nullptr) return 0;
  int shared = PTHREAD_PROCESS_PRIVATE;
  clockid_t clock = CLOCK_REALTIME;
  ::pthread_condattr_getpshared(attributes, &shared);
  ::pthread_condattr_getclock(attributes, &clock);
  condition->__data.__wrefs =
      (shared == PTHREAD_PROCESS_SHARED ? kShared : 0U) | (clock == CLOCK_MONOTONIC ? kMonotonic : 0U);
  return 0;
}

PENSTOCK_INTERPOSED int pthread_cond_destroy(pthread_cond_t* condition) noexcept {
  if (is_shared(condition)) {
    static auto* const real = shared_function<int(pthread_cond_t*)>("pthread_cond_destroy");
    return real(condition);
  }
  // Those that were woken touch it no more.
  return has_waiters(condition) ? EBUSY : 0;
}

PENSTOCK_INTERPOSED int pthread_cond_wait(pthread_cond_t* condition, pthread_mutex_t* mutex) {
  return wait(condition, mutex, Instant::max());
}

PENSTOCK_INTERPOSED int pthread_cond_timedwait(pthread_cond_t* condition, pthread_mutex_t* mutex, const timespec* at) {
  const unsigned flags = word(condition).load(std::memory_order_relaxed);
  return wait_until(condition, mutex, (flags & kMonotonic) != 0 ? CLOCK_MONOTONIC : CLOCK_REALTIME, at);
}

PENSTOCK_INTERPOSED int pthread_cond_clockwait(pthread_cond_t* condition, pthread_mutex_t* mutex, clockid_t clock,
                                               const timespec* at) {
  return wait_until(condition, mutex, clock, at);
}

PENSTOCK_INTERPOSED int pthread_cond_signal(pthread_cond_t* condition) noexcept {
  if (is_shared(condition)) {
    static auto* const real = shared_function<int(pthread_cond_t*)>("pthread_cond_signal");
    return real(condition);
  }
  if (has_waiters(condition)) wake(condition, false);
  return 0;
}

PENSTOCK_INTERPOSED int pthread_cond_broadcast(pthread_cond_t* condition) noexcept {
  if (is_shared(condition)) {
    static auto* const real = shared_function<int(pthread_cond_t*)>("pthread_cond_broadcast");
    return real(condition);
  }
  if (has_waiters(condition)) wake(condition, true);
  return 0;
}
