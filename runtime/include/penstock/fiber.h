#pragma once

#include <string_view>
#include <utility>

#include "penstock/callable.h"
#include "penstock/error.h"

// Fibers: cheap threads of control that wait without holding a thread. A fiber never changes its thread once it has
// started, so thread_local data and errno stay correct across waits.
//
// Everything in this header but Fiber::cancel and Runtime::spawn is called from a fiber.
namespace penstock {

// A handle on a fiber. Movable; destroying it leaves the fiber running. A handle is used by one thread at a time, which
// need not be the fiber's.
class Fiber {
 public:
  Fiber() = default;
  Fiber(Fiber&& other) noexcept : state_(std::exchange(other.state_, nullptr)) {}
  Fiber& operator=(Fiber&& other) noexcept {
    Fiber old(std::move(*this));
    state_ = std::exchange(other.state_, nullptr);
    return *this;
  }
  ~Fiber() {
    if (state_ != nullptr) release();
  }

  bool valid() const { return state_ != nullptr; }

  // Whether it has ended; never waits. This and the joins throw std::logic_error when the handle is not valid.
  bool done() const;
  // Waits for its end. Rethrows what ended it, if it was an exception: std::bad_alloc if there was no memory for its
  // stack. Ends early with DeadlineExceeded or Cancelled of the waiting fiber; the awaited one goes on. Throws
  // std::logic_error when a fiber waits for itself.
  void join();
  // The same, at most until then. False: it still runs.
  bool join_until(Instant t);
  bool join_for(Duration d);

  // Makes its present and all further waits throw Cancelled; what has not begun (spawn_after) never does, and its
  // join() throws Cancelled. Thread-safe, also from plain threads; no effect once it has ended.
  void cancel();

 private:
  friend struct FiberAccess;
  struct State;
  void release() noexcept;
  State* state_ = nullptr;
};

// Starts fn as a fiber on the calling fiber's thread; it runs when the caller next waits. It inherits the caller's
// deadline and its request (time that it waits counts to the same account). `name` is shown in dumps.
Fiber spawn(std::string_view name, Callable fn);
// The same, when that time has passed. Until then it is a timer, without a stack.
Fiber spawn_after(Duration d, std::string_view name, Callable fn);

// Suspends; throws DeadlineExceeded or Cancelled like every wait.
void sleep_for(Duration d);
void sleep_until(Instant t);
// Lets other ready fibers run.
void yield();

// Bounds every wait within its scope, to the earlier of this deadline and the enclosing ones. Must be destroyed on the
// fiber that made it.
class DeadlineScope {
 public:
  explicit DeadlineScope(Instant deadline);
  // So long from now.
  explicit DeadlineScope(Duration time);
  ~DeadlineScope();
  DeadlineScope(const DeadlineScope&) = delete;
  DeadlineScope& operator=(const DeadlineScope&) = delete;

 private:
  Instant previous_;
};

// Within its scope waits do not throw Cancelled: for cleaning up, such as sending the last word on a connection.
// Deadlines still hold.
class CancelShield {
 public:
  CancelShield();
  ~CancelShield();
  CancelShield(const CancelShield&) = delete;
  CancelShield& operator=(const CancelShield&) = delete;
};

// The deadline in force; Instant::max() when there is none.
Instant current_deadline();
// Throws Cancelled or DeadlineExceeded if the next wait would: for long computations.
void check_interrupts();

}  // namespace penstock
