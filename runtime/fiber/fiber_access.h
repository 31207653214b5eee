#pragma once

#include <atomic>
#include <exception>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "penstock/fiber.h"
#include "penstock/spin_lock.h"
#include "runtime/fiber/delayed_task.h"
#include "runtime/fiber/fiber_state.h"
#include "runtime/fiber/inbox.h"
#include "runtime/fiber/task.h"
#include "runtime/fiber/waiter.h"

namespace penstock {

// What a handle and its fiber share, and the task that becomes the fiber. One block, with the name behind it. Counts
// its references: the handle, the task until its end, and posts that are under way.
struct Fiber::State final : fiber::Task {
  // With two references: the handle's, and one that starting it takes.
  static State* make(std::shared_ptr<fiber::Inbox> home, std::string_view name, Callable fn);
  State* hold() noexcept {
    references_.fetch_add(1, std::memory_order_relaxed);
    return this;
  }
  void release() noexcept;

  std::string_view name() const noexcept { return {reinterpret_cast<const char*>(this + 1), name_size_}; }
  const std::shared_ptr<fiber::Inbox>& home() const noexcept { return home_; }

  // On the fiber's thread.
  void inherit(const fiber::FiberState& parent);
  void start_now() noexcept;
  // At that time, if it is not cancelled first. Throws std::bad_alloc, without the reference as well.
  void start_at(Instant t);
  void cancel_here() noexcept;
  // With a reference, which is dropped.
  void refused(std::exception_ptr why) noexcept override;

  // On any thread.
  bool ended() const noexcept { return ended_.load(std::memory_order_acquire); }
  // False when it had not ended by then.
  bool join(Instant until);

 private:
  struct Joiner;

  State(std::shared_ptr<fiber::Inbox> home, std::size_t name_size, Callable fn) noexcept
      : name_size_(name_size), home_(std::move(home)), fn_(std::move(fn)) {}
  ~State();

  void run() noexcept override;
  void describe(fiber::TaskName& name) const noexcept override { name += this->name(); }
  void end(std::exception_ptr error) noexcept;
  // Whether it was in the list.
  bool leave(Joiner& joiner) noexcept;

  std::atomic<unsigned> references_{2};
  const std::size_t name_size_;
  const std::shared_ptr<fiber::Inbox> home_;

  // Touched on the fiber's thread only.
  bool cancelled_early_ = false;
  // Null before its time and from its end on.
  fiber::FiberState* running_ = nullptr;
  // Not set once it was started.
  std::optional<fiber::DelayedTask> delay_;
  Instant deadline_ = Instant::max();
  std::shared_ptr<fiber::RequestAccount> account_;
  Callable fn_;

  // Set before ended_, and not changed after it.
  std::exception_ptr error_;
  bool never_began_ = false;
  std::atomic<bool> ended_{false};
  std::atomic<bool> error_taken_{false};

  SpinLock lock_;
  Joiner* joining_ = nullptr;
};

// How the runtime makes fibers.
struct FiberAccess {
  // On the calling scheduler thread, from a fiber or from the dispatcher. Throws std::bad_alloc.
  static Fiber spawn_here(std::string_view name, Callable fn, bool inherit);
  static Fiber spawn_after(Duration d, std::string_view name, Callable fn);
  // On any thread, from any thread. Throws std::logic_error when it has ended.
  static Fiber spawn_at(const std::shared_ptr<fiber::Inbox>& home, std::string_view name, Callable fn);
};

}  // namespace penstock
