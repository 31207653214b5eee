#include "runtime/interpose/threads/mutex.h"

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstdint>
#include <cstring>
#include <optional>

#include "runtime/fiber/plain_calls.h"
#include "runtime/fiber/scheduler.h"
#include "runtime/interpose/interposed.h"
#include "runtime/interpose/real.h"
#include "runtime/interpose/threads/clock.h"
#include "runtime/interpose/threads/owner.h"
#include "runtime/interpose/threads/parking.h"
#include "runtime/interpose/threads/plain_libraries.h"
#include "runtime/interpose/threads/program_thread.h"
#include "runtime/interpose/threads/shared_locks.h"

PENSTOCK_REAL(pthread_mutex_destroy)
PENSTOCK_REAL(pthread_mutex_trylock)
PENSTOCK_REAL(pthread_mutex_unlock)

namespace penstock::interpose {
namespace {

constexpr int kFree = 0;
constexpr int kTaken = 1;
constexpr int kWaitedFor = 2;

// pthread_mutex_t's kind: the type in the lowest bits; then robust, of priorities, shared.
constexpr int kTypeMask = 3;
constexpr int kForeign = 16 | 32 | 64 | 128;

int kind(const pthread_mutex_t* mutex) noexcept { return mutex->__data.__kind; }
bool is_foreign(const pthread_mutex_t* mutex) noexcept { return (kind(mutex) & kForeign) != 0; }
bool is_recursive(const pthread_mutex_t* mutex) noexcept {
  return (kind(mutex) & kTypeMask) == PTHREAD_MUTEX_RECURSIVE;
}
bool knows_owner(const pthread_mutex_t* mutex) noexcept {
  const int type = kind(mutex) & kTypeMask;
  return type == PTHREAD_MUTEX_RECURSIVE || type == PTHREAD_MUTEX_ERRORCHECK;
}

std::atomic_ref<int> word(pthread_mutex_t* mutex) noexcept { return std::atomic_ref<int>(mutex->__data.__lock); }

// Over the C library's owner and its number of users, which it does not look at in mutexes of one process.
class Owner {
 public:
  explicit Owner(pthread_mutex_t* mutex) noexcept : word_(reinterpret_cast<Word*>(&mutex->__data.__owner)) {
    static_assert(offsetof(pthread_mutex_t, __data.__owner) % sizeof(Word) == 0);
  }
  bool is_caller() const noexcept { return __atomic_load_n(word_, __ATOMIC_RELAXED) == caller(); }
  void set(std::uintptr_t who) noexcept { __atomic_store_n(word_, who, __ATOMIC_RELAXED); }

 private:
  using Word [[gnu::may_alias]] = std::uint64_t;
  Word* const word_;
};

bool take(pthread_mutex_t* mutex) noexcept {
  int free = kFree;
  return word(mutex).compare_exchange_strong(free, kTaken, std::memory_order_acquire, std::memory_order_relaxed);
}

// 0, or why not: it is too late, or the thread was cancelled, which may happen anywhere.
int take_slowly(pthread_mutex_t* mutex, Instant until) noexcept {
  Cancellable interruptible(Cancellable::By::signals);
  // Once overtaken, before all others, and the next unlock hands over: on one thread an owner that locks again at once
  // would be overtaken by nobody, ever.
  for (bool overtaken = false;; overtaken = true) {
    Parking parking(mutex, "a mutex");
    if (!interruptible.begin(parking)) {
      if (!interruptible.act_while_locking()) return EINTR;
      continue;
    }
    {
      ParkingLock lock(mutex);
      if (word(mutex).exchange(kWaitedFor, std::memory_order_acquire) == kFree) {
        interruptible.end();
        return 0;
      }
      parking.asked = overtaken;
      parking.join(lock, overtaken ? Parking::Place::first : Parking::Place::last);
    }
    const Parking::End end = parking.wait(until);
    interruptible.end();
    if (parking.granted) return 0;
    if (end == Parking::End::timed_out) return ETIMEDOUT;
    if (end == Parking::End::interrupted && !interruptible.act_while_locking()) return EINTR;
  }
}

void give_up_slowly(pthread_mutex_t* mutex) noexcept {
  ParkingLock lock(mutex);
  for (;;) {
    Parking* longest = lock.first();
    if (longest == nullptr) {
      word(mutex).store(kFree, std::memory_order_release);
      return;
    }
    if (longest->asked) {
      if (lock.hand_over(*longest)) return;
    } else if (lock.wake(*longest)) {
      word(mutex).store(kFree, std::memory_order_release);
      return;
    }
  }
}

// Of a recursive mutex or an error-checking one that the caller has already; 0: it does not have it.
int lock_again(pthread_mutex_t* mutex) noexcept {
  if (!is_recursive(mutex)) return EDEADLK;
  if (mutex->__data.__count == UINT32_MAX) return EAGAIN;
  ++mutex->__data.__count;
  return 0;
}

}  // namespace

int lock_mutex(pthread_mutex_t* mutex, Instant until) noexcept {
  if (is_foreign(mutex)) return lock_shared(mutex, until);
  const bool owned = knows_owner(mutex);
  if (owned && Owner(mutex).is_caller()) return lock_again(mutex);
  if (!take(mutex)) {
    if (const int error = take_slowly(mutex, until)) return error;
  }
  if (owned) {
    Owner(mutex).set(caller());
    mutex->__data.__count = 1;
  }
  return 0;
}

int try_lock_mutex(pthread_mutex_t* mutex) noexcept {
  if (is_foreign(mutex)) return try_lock_shared(mutex);
  const bool owned = knows_owner(mutex);
  if (owned && Owner(mutex).is_caller()) {
    return is_recursive(mutex) ? lock_again(mutex) : EBUSY;
  }
  if (!take(mutex)) return EBUSY;
  if (owned) {
    Owner(mutex).set(caller());
    mutex->__data.__count = 1;
  }
  return 0;
}

int unlock_mutex(pthread_mutex_t* mutex) noexcept {
  if (is_foreign(mutex)) return unlock_shared(mutex);
  if (knows_owner(mutex)) {
    if (!Owner(mutex).is_caller()) return EPERM;
    if (--mutex->__data.__count != 0) return 0;
    Owner(mutex).set(0);
  }
  int taken = kTaken;
  if (word(mutex).compare_exchange_strong(taken, kFree, std::memory_order_release, std::memory_order_relaxed)) return 0;
  if (taken != kFree) give_up_slowly(mutex);
  return 0;
}

namespace {

int lock_until(pthread_mutex_t* mutex, clockid_t clock, const timespec* at) noexcept {
  // The time is looked at only by who has to wait.
  const int error = try_lock_mutex(mutex);
  if (error != EBUSY) return error;
  if (!is_foreign(mutex) && knows_owner(mutex) && Owner(mutex).is_caller()) {
    return EDEADLK;
  }
  const auto until = instant_of(clock, *at);
  return until ? lock_mutex(mutex, *until) : EINVAL;
}

}  // namespace
}  // namespace penstock::interpose

using namespace penstock;
using namespace penstock::interpose;

// By another name than <pthread.h> knows, which says that it throws nothing: a thread that is cancelled is unwound.
PENSTOCK_INTERPOSED int penstock_mutex_lock(pthread_mutex_t* mutex) __asm__("pthread_mutex_lock");
int penstock_mutex_lock(pthread_mutex_t* mutex) {
  std::optional<fiber::PlainCalls> on_this_thread;
  if (is_in_plain_library(__builtin_return_address(0))) on_this_thread.emplace();
  const int error = lock_mutex(mutex, Instant::max());
  on_this_thread.reset();
  if (error == EINTR) test_cancel();
  return error;
}

PENSTOCK_INTERPOSED int pthread_mutex_trylock(pthread_mutex_t* mutex) noexcept { return try_lock_mutex(mutex); }
PENSTOCK_INTERPOSED int pthread_mutex_timedlock(pthread_mutex_t* mutex, const timespec* at) noexcept {
  return lock_until(mutex, CLOCK_REALTIME, at);
}
PENSTOCK_INTERPOSED int pthread_mutex_clocklock(pthread_mutex_t* mutex, clockid_t clock, const timespec* at) noexcept {
  return lock_until(mutex, clock, at);
}
PENSTOCK_INTERPOSED int pthread_mutex_unlock(pthread_mutex_t* mutex) noexcept { return unlock_mutex(mutex); }
PENSTOCK_INTERPOSED int pthread_mutex_destroy(pthread_mutex_t* mutex) noexcept {
  if (!is_foreign(mutex) && word(mutex).load(std::memory_order_relaxed) != kFree) return EBUSY;
  return real::pthread_mutex_destroy(mutex);
}
