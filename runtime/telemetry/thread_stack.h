#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

#include "runtime/telemetry/unwinder.h"

namespace penstock::telemetry {

// What another scheduler thread of this process does at the moment.
struct ThreadStack {
  // Innermost first; empty: it could not be found out.
  std::vector<Address> calls;
  // It waits in the kernel, in a system call; otherwise it computes, or would if it had a processor.
  bool in_system_call = false;
  // Of the fiber that it runs; empty: it waits in the kernel, where nobody may be asked, or runs none.
  std::string fiber;
};

// A thread that is in a system call is not disturbed: what it waits for is read from /proc and from its memory. One
// that computes is asked by SIGURG, which interrupts nothing. Thread-safe; takes up to 50 ms.
ThreadStack stack_of_thread(pid_t thread);

}  // namespace penstock::telemetry
