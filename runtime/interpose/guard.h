#pragma once

#include "runtime/fiber/plain_calls.h"
#include "runtime/fiber/scheduler.h"

namespace penstock::interpose {

// Whether a call may wait as a fiber: the thread runs a scheduler, a fiber of it calls, and not in the runtime's own
// work. Null: the call is to be the plain one.
inline fiber::Scheduler* cooperative() noexcept {
  fiber::Scheduler* scheduler = fiber::Scheduler::current();
  if (scheduler == nullptr || fiber::PlainCalls::active() || scheduler->running().is_dispatcher) return nullptr;
  return scheduler;
}

}  // namespace penstock::interpose
