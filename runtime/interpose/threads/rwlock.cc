#include <pthread.h>

#include <cerrno>
#include <cstdint>
#include <optional>

#include "runtime/interpose/interposed.h"
#include "runtime/interpose/real.h"
#include "runtime/interpose/threads/clock.h"
#include "runtime/interpose/threads/owner.h"
#include "runtime/interpose/threads/parking.h"
#include "runtime/interpose/threads/program_thread.h"

PENSTOCK_REAL(pthread_rwlock_destroy)
PENSTOCK_REAL(pthread_rwlock_tryrdlock)
PENSTOCK_REAL(pthread_rwlock_trywrlock)
PENSTOCK_REAL(pthread_rwlock_unlock)

namespace penstock::interpose {
namespace {

enum class For { reading, writing };

// Laid over the C library's words, which begin as zero. Touched under the lock of its address only.
class ReadWriteLock {
 public:
  explicit ReadWriteLock(pthread_rwlock_t* lock) noexcept : data_(lock->__data) {}

  bool is_shared() const noexcept { return data_.__shared != 0; }
  bool is_free() const noexcept { return data_.__readers == 0 && writer() == 0; }
  bool is_written_by(std::uintptr_t who) const noexcept { return writer() == who; }

  bool take(For purpose) noexcept {
    if (writer() != 0) return false;
    if (purpose == For::writing) {
      if (data_.__readers != 0) return false;
      writer() = caller();
      return true;
    }
    // Readers that come meanwhile may keep a writer waiting for ever, unless the lock is of the other kind.
    if (prefers_writers() && waiting_writers() != 0) return false;
    ++data_.__readers;
    return true;
  }

  // True: nobody has it any more.
  bool give_up(std::uintptr_t who) noexcept {
    if (writer() == who) {
      writer() = 0;
      return true;
    }
    return data_.__readers != 0 && --data_.__readers == 0;
  }
  unsigned& waiting_writers() noexcept { return data_.__wrphase_futex; }

 private:
  bool prefers_writers() const noexcept { return data_.__flags == PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP; }
  using Word [[gnu::may_alias]] = std::uint64_t;
  Word& writer() const noexcept {
    static_assert(offsetof(pthread_rwlock_t, __data.__pad3) % sizeof(Word) == 0);
    return *reinterpret_cast<Word*>(&data_.__pad3);
  }

  __pthread_rwlock_arch_t& data_;
};

int try_lock(pthread_rwlock_t* rwlock, For purpose) noexcept {
  ReadWriteLock state(rwlock);
  if (state.is_shared()) {
    return purpose == For::reading ? real::pthread_rwlock_tryrdlock(rwlock) : real::pthread_rwlock_trywrlock(rwlock);
  }
  const ParkingLock lock(rwlock);
  return state.take(purpose) ? 0 : EBUSY;
}

int lock(pthread_rwlock_t* rwlock, For purpose, Instant until) noexcept {
  ReadWriteLock state(rwlock);
  if (state.is_shared()) {
    for (Backoff backoff;;) {
      const int error = try_lock(rwlock, purpose);
      if (error != EBUSY) return error;
      if (!backoff.wait(until)) return ETIMEDOUT;
    }
  }
  const unsigned writer = purpose == For::writing ? 1 : 0;
  Cancellable interruptible(Cancellable::By::signals);
  for (bool overtaken = false;; overtaken = true) {
    Parking parking(rwlock, purpose == For::reading ? "a lock to read" : "a lock to write");
    // Whoever is cancelled meanwhile ends when it has the lock.
    if (!interruptible.begin(parking)) interruptible.act_while_locking();
    {
      ParkingLock row(rwlock);
      const bool already = state.is_written_by(caller());
      if (already || state.take(purpose)) {
        interruptible.end();
        return already ? EDEADLK : 0;
      }
      parking.bits = writer;
      state.waiting_writers() += writer;
      parking.join(row, overtaken ? Parking::Place::first : Parking::Place::last);
    }
    const Parking::End end = parking.wait(until, [&] { state.waiting_writers() -= writer; });
    interruptible.end();
    if (end == Parking::End::interrupted) interruptible.act_while_locking();
    if (end == Parking::End::timed_out) return ETIMEDOUT;
  }
}

int lock_until(pthread_rwlock_t* rwlock, For purpose, clockid_t clock, const timespec* at) noexcept {
  const int error = try_lock(rwlock, purpose);
  if (error != EBUSY) return error;
  const auto until = instant_of(clock, *at);
  return until ? lock(rwlock, purpose, *until) : EINVAL;
}

int unlock(pthread_rwlock_t* rwlock) noexcept {
  ReadWriteLock state(rwlock);
  if (state.is_shared()) return real::pthread_rwlock_unlock(rwlock);
  ParkingLock row(rwlock);
  if (!state.give_up(caller())) return 0;
  // Readers up to the first writer, or that writer: they try again.
  bool any = false;
  while (Parking* longest = row.first()) {
    const bool writer = longest->bits != 0;
    if (writer && any) break;
    state.waiting_writers() -= longest->bits;
    any = row.wake(*longest) || any;
    if (writer && any) break;
  }
  return 0;
}

}  // namespace
}  // namespace penstock::interpose

using namespace penstock;
using namespace penstock::interpose;

PENSTOCK_INTERPOSED int pthread_rwlock_rdlock(pthread_rwlock_t* rwlock) noexcept {
  return lock(rwlock, For::reading, Instant::max());
}
PENSTOCK_INTERPOSED int pthread_rwlock_tryrdlock(pthread_rwlock_t* rwlock) noexcept {
  return try_lock(rwlock, For::reading);
}
PENSTOCK_INTERPOSED int pthread_rwlock_timedrdlock(pthread_rwlock_t* rwlock, const timespec* at) noexcept {
  return lock_until(rwlock, For::reading, CLOCK_REALTIME, at);
}
PENSTOCK_INTERPOSED int pthread_rwlock_clockrdlock(pthread_rwlock_t* rwlock, clockid_t clock,
                                                   const timespec* at) noexcept {
  return lock_until(rwlock, For::reading, clock, at);
}
PENSTOCK_INTERPOSED int pthread_rwlock_wrlock(pthread_rwlock_t* rwlock) noexcept {
  return lock(rwlock, For::writing, Instant::max());
}
PENSTOCK_INTERPOSED int pthread_rwlock_trywrlock(pthread_rwlock_t* rwlock) noexcept {
  return try_lock(rwlock, For::writing);
}
PENSTOCK_INTERPOSED int pthread_rwlock_timedwrlock(pthread_rwlock_t* rwlock, const timespec* at) noexcept {
  return lock_until(rwlock, For::writing, CLOCK_REALTIME, at);
}
PENSTOCK_INTERPOSED int pthread_rwlock_clockwrlock(pthread_rwlock_t* rwlock, clockid_t clock,
                                                   const timespec* at) noexcept {
  return lock_until(rwlock, For::writing, clock, at);
}
PENSTOCK_INTERPOSED int pthread_rwlock_unlock(pthread_rwlock_t* rwlock) noexcept { return unlock(rwlock); }
PENSTOCK_INTERPOSED int pthread_rwlock_destroy(pthread_rwlock_t* rwlock) noexcept {
  ReadWriteLock state(rwlock);
  if (state.is_shared()) return real::pthread_rwlock_destroy(rwlock);
  const ParkingLock row(rwlock);
  return state.is_free() ? 0 : EBUSY;
}
