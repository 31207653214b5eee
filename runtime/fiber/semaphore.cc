#include <mutex>
#include <stdexcept>

#include "penstock/sync.h"
#include "runtime/fiber/waiter.h"

namespace penstock {

Semaphore::Semaphore(std::int64_t permits) : free_(permits) {
  if (permits < 0) throw std::invalid_argument("permits: negative");
}

bool Semaphore::acquire_slowly(Instant until) {
  std::lock_guard guard(lock_);
  std::int64_t free = free_.load(std::memory_order_relaxed);
  while (free != kWaiting) {
    const std::int64_t wanted = free > 0 ? free - 1 : kWaiting;
    if (!free_.compare_exchange_weak(free, wanted, std::memory_order_acquire, std::memory_order_relaxed)) continue;
    if (free > 0) return true;
    break;
  }
  fiber::Wait place;
  return waiting_.wait_or_throw(lock_, place, until, "a semaphore");
}

void Semaphore::release(std::int64_t permits) {
  if (permits <= 0) throw std::invalid_argument("permits: not positive");
  for (;;) {
    std::int64_t free = free_.load(std::memory_order_relaxed);
    while (free != kWaiting) {
      // The last touch: who takes them may destroy this.
      if (free_.compare_exchange_weak(free, free + permits, std::memory_order_release, std::memory_order_relaxed))
        return;
    }
    std::lock_guard guard(lock_);
    const std::int64_t all = permits;
    while (permits > 0 && waiting_.release() != nullptr) --permits;
    // Another call may have left kWaiting before the lock was taken here.
    if (waiting_.empty() && free_.load(std::memory_order_relaxed) == kWaiting) {
      free_.store(0, std::memory_order_relaxed);
    }
    // Those who got some do not return before the unlock, and nobody destroys this before they have.
    if (permits < all) {
      if (permits > 0) free_.fetch_add(permits, std::memory_order_release);
      return;
    }
  }
}

std::int64_t Semaphore::available() const noexcept {
  const std::int64_t free = free_.load(std::memory_order_relaxed);
  return free > 0 ? free : 0;
}

void Event::set() noexcept {
  std::lock_guard guard(lock_);
  set_.store(true, std::memory_order_release);
  waiting_.release_all();
}

void Event::reset() noexcept { set_.store(false, std::memory_order_relaxed); }

bool Event::wait_until(Instant until) {
  // With the lock, so that set() is done with this when the wait returns.
  std::lock_guard guard(lock_);
  if (set_.load(std::memory_order_relaxed)) return true;
  fiber::Wait place;
  return waiting_.wait_or_throw(lock_, place, until, "an event");
}

}  // namespace penstock
