#include "runtime/fiber/waiter.h"

#include <algorithm>
#include <boost/fiber/context.hpp>
#include <exception>
#include <memory>
#include <string>

#include "runtime/fiber/scheduler.h"

namespace penstock::fiber {

Waiter::Waiter() : scheduler_(Scheduler::current()) {
  if (scheduler_ == nullptr) std::terminate();
  context_ = boost::fibers::context::active();
}

Waiter::~Waiter() = default;

Wake Waiter::wait(Instant until) {
  FiberState& fiber = Scheduler::properties(context_).state;
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
  const bool local = owner == Scheduler::current();
  // The owner may be gone as soon as its fiber goes on; the inbox is not.
  const std::shared_ptr<Inbox> inbox = local ? nullptr : owner->inbox();
  int phase = state_.load(std::memory_order_acquire);
  do {
    if (phase >= ended) return false;
  } while (!state_.compare_exchange_weak(phase, ended + static_cast<int>(why), std::memory_order_acq_rel));
  if (phase == parked) {
    if (local) {
      owner->make_ready(context_);
    } else {
      inbox->push(*this);
    }
  }
  return true;
}

void throw_if_interrupted(Wake why, const char* waiting_for) {
  if (why == Wake::cancelled) throw Cancelled(std::string("cancelled while waiting for ") + waiting_for);
  if (why == Wake::deadline && current().deadline <= cached_now()) {
    throw DeadlineExceeded(std::string("deadline passed while waiting for ") + waiting_for);
  }
}

}  // namespace penstock::fiber
