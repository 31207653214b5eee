#pragma once

#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <string_view>
#include <vector>

#include "penstock/fiber.h"
#include "runtime/fiber/inbox.h"
#include "runtime/fiber/waiter.h"

namespace penstock {

namespace fiber {
struct Properties;
class Scheduler;
}  // namespace fiber

// What a handle and its fiber share.
struct Fiber::State {
  explicit State(std::shared_ptr<fiber::Inbox> home) : home(std::move(home)) {}
  // Logs an error that nobody joined for.
  ~State();

  // The fiber's thread.
  const std::shared_ptr<fiber::Inbox> home;
  // Touched on that thread only; null before its start there and after its end.
  fiber::Properties* properties = nullptr;
  bool cancelled_early = false;

  std::mutex mutex;
  bool ended = false;
  bool error_taken = false;
  std::exception_ptr error;
  std::vector<fiber::Waiter*> joining;
  std::string name;
};

// How the runtime makes fibers.
struct FiberAccess {
  // On the calling scheduler thread, from a fiber or from the dispatcher. Throws std::bad_alloc.
  static Fiber spawn_here(std::string_view name, std::function<void()> fn, bool inherit);
  // On any thread, from any thread. Throws std::logic_error when it has ended.
  static Fiber spawn_at(const std::shared_ptr<fiber::Inbox>& home, std::string_view name, std::function<void()> fn);

 private:
  static void start(const std::shared_ptr<Fiber::State>& state, std::function<void()> fn, bool inherit);
  static void end(Fiber::State& state, std::exception_ptr error) noexcept;
};

}  // namespace penstock
