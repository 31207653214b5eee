#pragma once

#include "penstock/error.h"
#include "runtime/fiber/fiber_state.h"
#include "runtime/fiber/scheduler.h"

namespace penstock::fiber {

// Within its scope the waits of the calling fiber are ended by neither cancellation nor its deadline: for what has to
// be waited for before a stack may be unwound. Does nothing on a plain thread.
class Uninterrupted {
 public:
  Uninterrupted() : state_(Scheduler::current() != nullptr ? &current() : nullptr) {
    if (state_ == nullptr) return;
    deadline_ = state_->deadline;
    state_->deadline = Instant::max();
    ++state_->shields;
  }
  ~Uninterrupted() {
    if (state_ == nullptr) return;
    state_->deadline = deadline_;
    --state_->shields;
  }
  Uninterrupted(const Uninterrupted&) = delete;
  Uninterrupted& operator=(const Uninterrupted&) = delete;

 private:
  FiberState* const state_;
  Instant deadline_;
};

}  // namespace penstock::fiber
