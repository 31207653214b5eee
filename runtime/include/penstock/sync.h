#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <mutex>

#include "penstock/error.h"
#include "penstock/spin_lock.h"
#include "penstock/wait_list.h"

// Mutex, RecursiveMutex, ConditionVariable, Semaphore and Event between fibers of any threads and plain threads: a
// fiber that waits suspends, a plain thread that waits blocks. Queue and Channel: queue.h.
//
// Every wait of a fiber throws Cancelled when it is cancelled and DeadlineExceeded when its deadline passes, and then
// has no effect: nothing is held, nothing was taken. What was granted before that is never lost: the call returns
// normally and the next wait throws. What need not wait does not throw. The *_until functions return false at their own
// time; on plain threads nothing else ends a wait.
//
// All members are thread-safe, and may not be called from callbacks of a scheduler thread's dispatcher if they have to
// wait. None allocates; without contention each is one atomic operation. An object may be destroyed as soon as nobody
// waits for it and every wait has returned, even if the call that ended the last wait has not returned yet.
namespace penstock {

// Mutual exclusion, over waits too: whoever holds it may suspend.
//
// Fairness: unlock() wakes the longest wait and leaves the mutex free for it or for whoever comes first, because
// handing it to a fiber that has yet to run would keep everybody else waiting for a switch. Who was woken and still
// found it taken is handed it by the next unlock(); so nobody starves. Not recursive.
//
// Use it through std::lock_guard or std::unique_lock. On a cancelled fiber a lock() that has to wait throws: clean-up
// that needs the mutex takes it within a CancelShield.
class Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void lock() {
    if (!try_lock()) lock_slowly(Instant::max());
  }
  bool try_lock() noexcept {
    std::uint32_t free = 0;
    return state_.compare_exchange_strong(free, kLocked, std::memory_order_acquire, std::memory_order_relaxed);
  }
  bool try_lock_until(Instant until) { return try_lock() || lock_slowly(until); }
  // By the fiber or thread that holds it.
  void unlock() noexcept {
    std::uint32_t locked = kLocked;
    if (!state_.compare_exchange_strong(locked, 0, std::memory_order_release, std::memory_order_relaxed)) {
      unlock_slowly();
    }
  }

 private:
  static constexpr std::uint32_t kLocked = 1;
  static constexpr std::uint32_t kWaiting = 2;
  bool lock_slowly(Instant until);
  void unlock_slowly() noexcept;

  // kLocked, and kWaiting while the list is not empty (which changes under the lock of the list).
  std::atomic<std::uint32_t> state_{0};
  SpinLock lock_;
  fiber::WaitList waiting_;
};

// A mutex that its holder may lock again; it is free after as many unlocks. The holder is a fiber, or a plain thread.
class RecursiveMutex {
 public:
  void lock();
  bool try_lock() noexcept;
  bool try_lock_until(Instant until);
  void unlock() noexcept;

 private:
  bool held_by(const void* caller) const noexcept { return holder_.load(std::memory_order_relaxed) == caller; }

  Mutex mutex_;
  std::atomic<const void*> holder_{nullptr};
  // The holder's.
  std::uint64_t depth_ = 0;
};

// Wakes the longest waits first. Waits may end without a reason that the caller sees: wait in a loop, or with a
// predicate. A wait always returns or throws with the mutex held, however long taking it again needs: that part is
// ended by neither deadline nor cancellation. A notification goes to a wait that returns normally, never to one that
// throws.
class ConditionVariable {
 public:
  ConditionVariable() = default;
  ConditionVariable(const ConditionVariable&) = delete;
  ConditionVariable& operator=(const ConditionVariable&) = delete;

  void wait(std::unique_lock<Mutex>& lock) { wait_until(lock, Instant::max()); }
  std::cv_status wait_until(std::unique_lock<Mutex>& lock, Instant until);
  template <class Predicate>
  void wait(std::unique_lock<Mutex>& lock, Predicate holds) {
    while (!holds()) wait(lock);
  }
  // What the predicate says at the end.
  template <class Predicate>
  bool wait_until(std::unique_lock<Mutex>& lock, Instant until, Predicate holds) {
    while (!holds()) {
      if (wait_until(lock, until) == std::cv_status::timeout) return holds();
    }
    return true;
  }
  void notify_one() noexcept;
  void notify_all() noexcept;

 private:
  SpinLock lock_;
  fiber::WaitList waiting_;
};

// A number of permits. A released one goes to the longest wait at once: first come, first served, and nobody overtakes.
class Semaphore {
 public:
  // Throws std::invalid_argument when negative.
  explicit Semaphore(std::int64_t permits);
  Semaphore(const Semaphore&) = delete;
  Semaphore& operator=(const Semaphore&) = delete;

  void acquire() {
    if (!try_acquire()) acquire_slowly(Instant::max());
  }
  bool try_acquire() noexcept {
    std::int64_t free = free_.load(std::memory_order_relaxed);
    while (free > 0) {
      if (free_.compare_exchange_weak(free, free - 1, std::memory_order_acquire, std::memory_order_relaxed))
        return true;
    }
    return false;
  }
  bool try_acquire_until(Instant until) { return try_acquire() || acquire_slowly(until); }
  // By anybody. Throws std::invalid_argument unless positive.
  void release(std::int64_t permits = 1);
  // Free ones at this moment.
  std::int64_t available() const noexcept;

 private:
  static constexpr std::int64_t kWaiting = -1;
  bool acquire_slowly(Instant until);

  // Free permits; or kWaiting, when none is free and the list is not empty, or was: release() has to look.
  std::atomic<std::int64_t> free_;
  SpinLock lock_;
  fiber::WaitList waiting_;
};

// Something that has happened, or not. set() ends all waits that have begun, even if reset() follows at once.
class Event {
 public:
  Event() = default;
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  void set() noexcept;
  void reset() noexcept;
  // Alone, says nothing of whether set() has returned: only a wait does, after which the event may be destroyed.
  bool is_set() const noexcept { return set_.load(std::memory_order_acquire); }
  void wait() { wait_until(Instant::max()); }
  // Whether it was set.
  bool wait_until(Instant until);

 private:
  std::atomic<bool> set_{false};
  SpinLock lock_;
  fiber::WaitList waiting_;
};

}  // namespace penstock
