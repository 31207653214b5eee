#pragma once

#include <boost/fiber/context.hpp>
#include <boost/fiber/properties.hpp>
#include <boost/intrusive/list_hook.hpp>
#include <cstddef>
#include <cstdint>

#include "runtime/fiber/fiber_state.h"
#include "runtime/fiber/sanitizer.h"
#include "runtime/fiber/task.h"

namespace penstock::fiber {

// What hangs at every context of a scheduler thread.
struct Properties : boost::fibers::fiber_properties, Runnable {
  explicit Properties(boost::fibers::context* context) : fiber_properties(context), Runnable(false) {}
  ~Properties() override;
  boost::fibers::context* context() const { return ctx_; }

  FiberState state;

  // Where the context is, and since when; the time goes to state.account at every change.
  enum class Phase { running, ready, waiting } phase = Phase::waiting;
  bool is_dispatcher = false;
  // A worker fiber that has no task.
  bool parked = false;
  // The last dump of all fibers that has looked at it.
  std::uint32_t seen_by = 0;
  Instant since{};
  const std::string* waiting_for = nullptr;

  // What C++ and C keep per thread and a switch would mix up: the exceptions being handled, and errno.
  void* caught_exceptions = nullptr;
  unsigned uncaught_exceptions = 0;
  int saved_errno = 0;
  // Where its frames begin while it does not run; null: it has not run yet.
  const void* frames = nullptr;

  [[no_unique_address]] sanitizer::Strand strand;

  // In Scheduler::fibers(), from the begin of its task to its end.
  boost::intrusive::list_member_hook<boost::intrusive::link_mode<boost::intrusive::normal_link>> listed;
};

// A context that runs task after task. Lies at the top of its own stack, so that an idle fiber costs one block.
struct Worker final : Properties {
  explicit Worker(const boost::context::stack_context& stack) : Properties(nullptr), stack(stack) {
    strand.runs_on(stack);
  }

  static void* operator new(std::size_t, void* place) noexcept { return place; }
  static void operator delete(void*, void*) noexcept {}
  // Boost deletes it with its context, before the stack is given back.
  static void operator delete(void*) noexcept {}

  const boost::context::stack_context stack;
  // Its stack is of another size than the scheduler's: it ends with its task.
  bool for_one_task = false;
  Worker* next_parked = nullptr;
};

}  // namespace penstock::fiber
