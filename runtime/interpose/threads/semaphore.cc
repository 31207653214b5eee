#include <semaphore.h>

#include <atomic>
#include <cerrno>
#include <climits>
#include <cstdint>

#include "runtime/interpose/interposed.h"
#include "runtime/interpose/real.h"
#include "runtime/interpose/threads/clock.h"
#include "runtime/interpose/threads/parking.h"
#include "runtime/interpose/threads/program_thread.h"

PENSTOCK_REAL(sem_post)
PENSTOCK_REAL(sem_trywait)

namespace penstock::interpose {
namespace {

// The C library's layout: the value, above it the number of those that wait, and whether other processes share it.
constexpr std::uint64_t kOneWaiter = std::uint64_t{1} << 32;
constexpr std::uint64_t kValue = kOneWaiter - 1;
constexpr std::size_t kSharedAt = 8;

std::atomic_ref<std::uint64_t> word(sem_t* semaphore) noexcept {
  return std::atomic_ref<std::uint64_t>(*reinterpret_cast<std::uint64_t*>(semaphore));
}
bool is_shared(const sem_t* semaphore) noexcept {
  return *reinterpret_cast<const int*>(reinterpret_cast<const char*>(semaphore) + kSharedAt) != 0;
}

bool take(sem_t* semaphore) noexcept {
  std::uint64_t now = word(semaphore).load(std::memory_order_relaxed);
  while ((now & kValue) != 0) {
    if (word(semaphore).compare_exchange_weak(now, now - 1, std::memory_order_acquire, std::memory_order_relaxed)) {
      return true;
    }
  }
  return false;
}

int fail(int error) noexcept {
  errno = error;
  return -1;
}

int wait_shared(sem_t* semaphore, Instant until) {
  for (Backoff backoff;;) {
    test_cancel();
    if (real::sem_trywait(semaphore) == 0) return 0;
    if (errno != EAGAIN) return -1;
    if (!backoff.wait(until)) return fail(ETIMEDOUT);
  }
}

int wait(sem_t* semaphore, Instant until) {
  Cancellable cancellable;
  for (bool overtaken = false;; overtaken = true) {
    Parking parking(semaphore, "a semaphore");
    Parking::End end = Parking::End::interrupted;
    if (cancellable.begin(parking)) {
      {
        ParkingLock lock(semaphore);
        // Whoever posts from now on sees that somebody waits, or it has posted before, and this sees the value.
        word(semaphore).fetch_add(kOneWaiter);
        if (take(semaphore)) {
          word(semaphore).fetch_sub(kOneWaiter);
          cancellable.end();
          return 0;
        }
        parking.asked = overtaken;
        parking.join(lock, overtaken ? Parking::Place::first : Parking::Place::last);
      }
      end = parking.wait(until);
      cancellable.end();
      word(semaphore).fetch_sub(kOneWaiter, std::memory_order_relaxed);
      if (parking.granted || take(semaphore)) return 0;
    }
    if (end == Parking::End::interrupted && cancellable.act()) return fail(EINTR);
    if (end == Parking::End::timed_out) return fail(ETIMEDOUT);
  }
}

int wait_until(sem_t* semaphore, clockid_t clock, const timespec* at) {
  test_cancel();
  if (is_shared(semaphore) ? real::sem_trywait(semaphore) == 0 : take(semaphore)) return 0;
  const auto until = instant_of(clock, *at);
  if (!until) return fail(EINVAL);
  return is_shared(semaphore) ? wait_shared(semaphore, *until) : wait(semaphore, *until);
}

void wake_waiter(void* address) noexcept {
  auto* const semaphore = static_cast<sem_t*>(address);
  ParkingLock lock(semaphore);
  while (Parking* longest = lock.first()) {
    if (!longest->asked) {
      if (lock.wake(*longest)) return;
      continue;
    }
    // Overtaken: what was posted goes to it, if nobody has taken that meanwhile.
    if (!take(semaphore)) return;
    longest->granted = true;
    if (lock.wake(*longest)) return;
    longest->granted = false;
    word(semaphore).fetch_add(1, std::memory_order_release);
  }
}

}  // namespace

}  // namespace penstock::interpose

using namespace penstock;
using namespace penstock::interpose;

PENSTOCK_INTERPOSED int sem_post(sem_t* semaphore) noexcept {
  if (is_shared(semaphore)) return real::sem_post(semaphore);
  std::uint64_t before = word(semaphore).load(std::memory_order_relaxed);
  do {
    if ((before & kValue) == SEM_VALUE_MAX) return fail(EOVERFLOW);
  } while (
      !word(semaphore).compare_exchange_weak(before, before + 1, std::memory_order_seq_cst, std::memory_order_relaxed));
  if (before >= kOneWaiter) call_without_row(wake_waiter, semaphore);
  return 0;
}

PENSTOCK_INTERPOSED int sem_trywait(sem_t* semaphore) noexcept {
  if (is_shared(semaphore)) return real::sem_trywait(semaphore);
  return take(semaphore) ? 0 : fail(EAGAIN);
}

PENSTOCK_INTERPOSED int sem_wait(sem_t* semaphore) {
  test_cancel();
  if (is_shared(semaphore)) return wait_shared(semaphore, Instant::max());
  return take(semaphore) ? 0 : wait(semaphore, Instant::max());
}

PENSTOCK_INTERPOSED int sem_timedwait(sem_t* semaphore, const timespec* at) {
  return wait_until(semaphore, CLOCK_REALTIME, at);
}

PENSTOCK_INTERPOSED int sem_clockwait(sem_t* semaphore, clockid_t clock, const timespec* at) {
  return wait_until(semaphore, clock, at);
}
