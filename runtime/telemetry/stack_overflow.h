#pragma once

#include <cstddef>
#include <memory>

namespace penstock::telemetry {

// What the calling thread's signal handlers run on, while this lives: the stack of a fiber may be used up. Does nothing
// on a thread that has one.
class AlternateStack {
 public:
  AlternateStack();
  ~AlternateStack();
  AlternateStack(const AlternateStack&) = delete;
  AlternateStack& operator=(const AlternateStack&) = delete;

 private:
  std::unique_ptr<std::byte[]> memory_;
};

// From now on a fiber that runs into the guard page of its stack is named on the standard error output, with its calls,
// before the process ends by the signal as it would have. Other faults go to whoever handled them before. Sanitizers
// keep theirs.
void diagnose_stack_overflows();

}  // namespace penstock::telemetry
