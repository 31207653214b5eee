#include <mutex>

#include "penstock/sync.h"
#include "runtime/fiber/scheduler.h"
#include "runtime/fiber/uninterrupted.h"
#include "runtime/fiber/waiter.h"

namespace penstock {

// While anybody is in the list, state_ is changed under lock_ only, but for kLocked being taken while it is free.

bool Mutex::lock_slowly(Instant until) {
  std::lock_guard guard(lock_);
  fiber::Wait place;
  // Once overtaken, before all others: it has waited longest.
  for (auto where = fiber::WaitList::Place::last;; where = fiber::WaitList::Place::first) {
    std::uint32_t state = state_.load(std::memory_order_relaxed);
    for (;;) {
      const std::uint32_t wanted = (state & kLocked) == 0 ? state | kLocked : state | kWaiting;
      if (state_.compare_exchange_weak(state, wanted, std::memory_order_acquire, std::memory_order_relaxed)) break;
    }
    if ((state & kLocked) == 0) return true;

    const fiber::Wake why = waiting_.wait(lock_, place, until, "a mutex", where);
    if (why == fiber::Wake::notified) {
      if (place.slot != nullptr) return true;
      // The next unlock() hands over.
      place.flag = true;
      continue;
    }
    if (waiting_.empty()) state_.fetch_and(~kWaiting, std::memory_order_relaxed);
    fiber::throw_if_interrupted(why, "a mutex");
    return false;
  }
}

void Mutex::unlock_slowly() noexcept {
  for (;;) {
    {
      std::lock_guard guard(lock_);
      if (fiber::Wait* longest = waiting_.release()) {
        if (longest->flag) {
          longest->slot = this;
          if (waiting_.empty()) state_.fetch_and(~kWaiting, std::memory_order_relaxed);
        } else {
          state_.store(waiting_.empty() ? 0 : kWaiting, std::memory_order_release);
        }
        return;
      }
      state_.store(kLocked, std::memory_order_relaxed);
    }
    // Nobody waits any more. This is the last touch: who takes it next may destroy it.
    std::uint32_t locked = kLocked;
    if (state_.compare_exchange_strong(locked, 0, std::memory_order_release, std::memory_order_relaxed)) return;
  }
}

namespace {

// What no other fiber or plain thread that is running has.
const void* caller() noexcept {
  thread_local const char thread = 0;
  return fiber::Scheduler::current() != nullptr ? static_cast<const void*>(&fiber::current()) : &thread;
}

}  // namespace

void RecursiveMutex::lock() { try_lock_until(Instant::max()); }

bool RecursiveMutex::try_lock() noexcept {
  const void* self = caller();
  if (!held_by(self)) {
    if (!mutex_.try_lock()) return false;
    holder_.store(self, std::memory_order_relaxed);
  }
  ++depth_;
  return true;
}

bool RecursiveMutex::try_lock_until(Instant until) {
  const void* self = caller();
  if (!held_by(self)) {
    if (!mutex_.try_lock_until(until)) return false;
    holder_.store(self, std::memory_order_relaxed);
  }
  ++depth_;
  return true;
}

void RecursiveMutex::unlock() noexcept {
  if (--depth_ != 0) return;
  holder_.store(nullptr, std::memory_order_relaxed);
  mutex_.unlock();
}

std::cv_status ConditionVariable::wait_until(std::unique_lock<Mutex>& lock, Instant until) {
  struct Retake {
    std::unique_lock<Mutex>* lock = nullptr;
    ~Retake() {
      const fiber::Uninterrupted always;
      if (lock != nullptr) lock->lock();
    }
  };
  fiber::Wake why;
  {
    Retake retake;
    std::lock_guard guard(lock_);
    // No notification comes before this wait has joined the list: it needs the list's lock.
    lock.unlock();
    retake.lock = &lock;
    fiber::Wait place;
    why = waiting_.wait(lock_, place, until, "a condition");
  }
  fiber::throw_if_interrupted(why, "a condition");
  return why == fiber::Wake::notified ? std::cv_status::no_timeout : std::cv_status::timeout;
}

void ConditionVariable::notify_one() noexcept {
  std::lock_guard guard(lock_);
  waiting_.release();
}

void ConditionVariable::notify_all() noexcept {
  std::lock_guard guard(lock_);
  waiting_.release_all();
}

}  // namespace penstock
