#pragma once

#include <atomic>

#include "runtime/fiber/plain_calls.h"
#include "runtime/fiber/scheduler.h"

namespace penstock::interpose {

// Whether a call may wait as a fiber: the thread runs a scheduler, a fiber of it calls, and not in the runtime's own
// work. Null: the call is to be the plain one.
inline fiber::Scheduler* may_wait() noexcept {
  fiber::Scheduler* scheduler = fiber::Scheduler::current();
  if (scheduler == nullptr || fiber::PlainCalls::active() || scheduler->running().is_dispatcher) return nullptr;
  return scheduler;
}

// What a fiber that is a thread of a program, and was interrupted, does before its next call: signals are handled, and
// a cancelled thread ends. Null: nothing.
extern constinit std::atomic<void (*)()> before_interrupted_call;

// The same, for calls at which a thread may be cancelled.
inline fiber::Scheduler* cooperative() {
  fiber::Scheduler* scheduler = may_wait();
  if (scheduler != nullptr && scheduler->running().state.cancelled) [[unlikely]] {
    if (auto* const act = before_interrupted_call.load(std::memory_order_relaxed)) act();
  }
  return scheduler;
}

}  // namespace penstock::interpose
