#include "runtime/interpose/threads/shared_locks.h"

#include <cerrno>
#include <cstdint>
#include <mutex>
#include <unordered_map>

#include "penstock/spin_lock.h"
#include "runtime/fiber/scheduler.h"
#include "runtime/interpose/real.h"
#include "runtime/interpose/threads/owner.h"
#include "runtime/interpose/threads/parking.h"

PENSTOCK_REAL(pthread_mutex_clocklock)
PENSTOCK_REAL(pthread_mutex_lock)
PENSTOCK_REAL(pthread_mutex_trylock)
PENSTOCK_REAL(pthread_mutex_unlock)

namespace penstock::interpose {
namespace {

// Which fiber has which mutex that the calling thread has. One thread's.
using Held = std::unordered_map<pthread_mutex_t*, std::uintptr_t>;

Held& held() noexcept {
  // Leaked with its thread: locks may be used by what runs at its very end.
  static constinit thread_local Held* mutexes = nullptr;
  if (mutexes == nullptr) mutexes = new Held;
  return *mutexes;
}

bool is_another_fibers(pthread_mutex_t* mutex) noexcept {
  const auto found = held().find(mutex);
  return found != held().end() && found->second != caller();
}

int lock_plain(pthread_mutex_t* mutex, Instant until) noexcept {
  if (until == Instant::max()) return real::pthread_mutex_lock(mutex);
  const auto left = std::max(Duration::zero(), Duration(until.time_since_epoch()));
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(left);
  const timespec at{static_cast<time_t>(seconds.count()), static_cast<long>((left - seconds).count())};
  return real::pthread_mutex_clocklock(mutex, CLOCK_MONOTONIC, &at);
}

}  // namespace

int try_lock_shared(pthread_mutex_t* mutex) noexcept {
  if (fiber::Scheduler::current() == nullptr) return real::pthread_mutex_trylock(mutex);
  if (is_another_fibers(mutex)) return EBUSY;
  const int error = real::pthread_mutex_trylock(mutex);
  if (error == 0 || error == EOWNERDEAD) held()[mutex] = caller();
  return error;
}

int lock_shared(pthread_mutex_t* mutex, Instant until) noexcept {
  if (fiber::Scheduler::current() == nullptr) return lock_plain(mutex, until);
  // By type: an error of its own, once more, or for ever.
  const auto found = held().find(mutex);
  if (found != held().end() && found->second == caller()) {
    const int error = real::pthread_mutex_trylock(mutex);
    if (error == 0 || (mutex->__data.__kind & 3) == PTHREAD_MUTEX_ERRORCHECK) return error == EBUSY ? EDEADLK : error;
  }
  for (Backoff backoff;;) {
    const int error = try_lock_shared(mutex);
    if (error != EBUSY) return error;
    if (!backoff.wait(until)) return ETIMEDOUT;
  }
}

int unlock_shared(pthread_mutex_t* mutex) noexcept {
  if (fiber::Scheduler::current() == nullptr) return real::pthread_mutex_unlock(mutex);
  const bool knows_owner =
      (mutex->__data.__kind & 3) == PTHREAD_MUTEX_RECURSIVE || (mutex->__data.__kind & 3) == PTHREAD_MUTEX_ERRORCHECK;
  if (knows_owner && is_another_fibers(mutex)) return EPERM;
  const int error = real::pthread_mutex_unlock(mutex);
  // A recursive one may still be locked.
  if (error == 0 && mutex->__data.__owner == 0) held().erase(mutex);
  return error;
}

}  // namespace penstock::interpose
