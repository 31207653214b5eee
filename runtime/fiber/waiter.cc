#include "runtime/fiber/waiter.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <ctime>
#include <memory>
#include <stdexcept>
#include <string>

#include "runtime/fiber/plain_calls.h"
#include "runtime/fiber/scheduler.h"

namespace penstock::fiber {

namespace {

// Until the word is no longer `expected`, a time has come, or for no reason.
void futex_wait(const std::atomic<int>& word, int expected, Instant until) noexcept {
  timespec at{};
  if (until != Instant::max()) {
    const Duration since_start = until.time_since_epoch();
    const auto whole = std::chrono::duration_cast<std::chrono::seconds>(since_start);
    at = {static_cast<time_t>(whole.count()), static_cast<long>((since_start - whole).count())};
  }
  const PlainCalls plain;
  ::syscall(SYS_futex, &word, FUTEX_WAIT_BITSET_PRIVATE, expected, until != Instant::max() ? &at : nullptr, nullptr,
            FUTEX_BITSET_MATCH_ANY);
}

void futex_wake(const std::atomic<int>* word) noexcept {
  const PlainCalls plain;
  ::syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
}

}  // namespace

static_assert(sizeof(std::atomic<int>) == sizeof(int) && std::atomic<int>::is_always_lock_free);

Waiter::Waiter(WaitingFor what)
    : scheduler_(Scheduler::current()),
      fiber_(scheduler_ != nullptr ? &scheduler_->running() : nullptr),
      waiting_for_(what) {}

Waiter::~Waiter() = default;

Wake Waiter::wait(Instant until) {
  if (scheduler_ == nullptr) [[unlikely]]
    return wait_on_thread(until);
  // It runs whatever would end the wait.
  if (fiber_->is_dispatcher) [[unlikely]]
    throw std::logic_error(std::string("a wait in a callback of the reactor, for ") + waiting_for_.what);
  FiberState& fiber = fiber_->state;
  const Instant at = std::min(until, fiber.deadline);
  if (fiber.cancelled && fiber.shields == 0) {
    end(Wake::cancelled);
  } else if (at <= scheduler_->now()) {
    end(Wake::deadline);
  } else {
    if (at != Instant::max()) scheduler_->timers().add(*this, at);
    fiber.waiter = this;
    // A notify() of another thread may come between these two: it is taken in by the dispatcher only, which runs after
    // this fiber is suspended.
    int expected = armed;
    if (state_.compare_exchange_strong(expected, parked, std::memory_order_acq_rel)) scheduler_->suspend();
    fiber.waiter = nullptr;
    scheduler_->timers().remove(*this);
  }
  return static_cast<Wake>(state_.load(std::memory_order_acquire) - ended);
}

bool Waiter::end(Wake why) noexcept {
  Scheduler* owner = scheduler_;
  if (owner == nullptr) [[unlikely]]
    return end_on_thread(why);
  const bool local = owner == Scheduler::current();
  // The owner may be gone as soon as its fiber goes on; the inbox is not.
  const std::shared_ptr<Inbox> inbox = local ? nullptr : owner->inbox();
  int phase = state_.load(std::memory_order_acquire);
  do {
    if (phase >= ended) return false;
  } while (!state_.compare_exchange_weak(phase, ended + static_cast<int>(why), std::memory_order_acq_rel));
  if (phase == parked) {
    if (local) {
      owner->make_ready(*fiber_);
    } else {
      inbox->push(*this);
    }
  }
  return true;
}

Wake Waiter::wait_on_thread(Instant until) noexcept {
  int phase = armed;
  if (state_.compare_exchange_strong(phase, parked, std::memory_order_acq_rel)) {
    while ((phase = state_.load(std::memory_order_acquire)) == parked) {
      if (until != Instant::max() && std::chrono::steady_clock::now() >= until) {
        end_on_thread(Wake::deadline);
      } else {
        futex_wait(state_, parked, until);
      }
    }
  }
  return static_cast<Wake>(phase - ended);
}

bool Waiter::end_on_thread(Wake why) noexcept {
  // Only an address once the wait has ended: the thread may go on at once, by itself, and then this wakes whoever waits
  // there by now for no reason, which every futex wait is prepared for.
  const std::atomic<int>* word = &state_;
  int phase = state_.load(std::memory_order_acquire);
  do {
    if (phase >= ended) return false;
  } while (!state_.compare_exchange_weak(phase, ended + static_cast<int>(why), std::memory_order_acq_rel));
  if (phase == parked) futex_wake(word);
  return true;
}

void throw_if_interrupted(Wake why, const char* waiting_for) {
  if (why == Wake::cancelled) throw Cancelled(std::string("cancelled while waiting for ") + waiting_for);
  if (why == Wake::deadline && Scheduler::current() != nullptr && current().deadline <= cached_now()) {
    throw DeadlineExceeded(std::string("deadline passed while waiting for ") + waiting_for);
  }
}

}  // namespace penstock::fiber
