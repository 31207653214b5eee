#pragma once

#include <pthread.h>

#include <cstdint>

#include "runtime/fiber/scheduler.h"

namespace penstock::interpose {

// What no other fiber or plain thread that is running has: for locks that know their owner. A thread keeps it when it
// begins to run a scheduler, and a forked child has its parent's.
inline std::uintptr_t caller() noexcept {
  static constinit thread_local char of_thread = 0;
  fiber::Scheduler* scheduler = fiber::Scheduler::current();
  if (scheduler != nullptr) {
    fiber::Properties& running = scheduler->running();
    if (!running.is_dispatcher && &running != &scheduler->main()) {
      return reinterpret_cast<std::uintptr_t>(&running.state);
    }
  }
  return reinterpret_cast<std::uintptr_t>(&of_thread);
}

}  // namespace penstock::interpose
