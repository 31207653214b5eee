#include "runtime/fiber/fiber_state.h"

#include <chrono>
#include <new>
#include <stdexcept>
#include <string>
#include <utility>

#include "runtime/fiber/scheduler.h"
#include "runtime/fiber/waiter.h"

namespace penstock::fiber {
namespace {

// What recent_now() may lag.
constexpr auto kLongestBetweenReads = std::chrono::microseconds(2);

}  // namespace

FiberState& current() {
  Scheduler* scheduler = Scheduler::current();
  if (scheduler == nullptr) throw std::logic_error("called outside a fiber: this thread runs none");
  return scheduler->running().state;
}

bool on_fiber() noexcept {
  Scheduler* scheduler = Scheduler::current();
  return scheduler != nullptr && !scheduler->running().is_dispatcher;
}

void require_fiber(const char* what) {
  if (!on_fiber()) throw std::logic_error(std::string(what) + " is called on fibers only");
}

Instant cached_now() noexcept {
  Scheduler* scheduler = Scheduler::current();
  return scheduler != nullptr ? scheduler->now() : std::chrono::steady_clock::now();
}

Instant recent_now() noexcept {
  Scheduler* scheduler = Scheduler::current();
  return scheduler != nullptr ? scheduler->recent() : std::chrono::steady_clock::now();
}

Instant time_in(Duration d) noexcept {
  // No wait is too short.
  const Instant now = recent_now() + kLongestBetweenReads;
  return d > Instant::max() - now ? Instant::max() : now + d;
}

unsigned thread_index() noexcept {
  Scheduler* scheduler = Scheduler::current();
  return scheduler != nullptr ? scheduler->index() : 0;
}

void set_account(std::shared_ptr<RequestAccount> account) {
  current();
  Properties& fiber = Scheduler::current()->running();
  Scheduler::current()->settle_account(fiber);
  fiber.state.account = std::move(account);
}

void cancel(FiberState& state) noexcept {
  state.cancelled = true;
  if (state.waiter != nullptr && state.shields == 0) state.waiter->end(Wake::cancelled);
}

void FiberState::describe(TaskName& name) const noexcept {
  if (task != nullptr) {
    task->describe(name);
  } else {
    name += "(no task)";
  }
}

void RequestAccount::add_waiting(const std::string* upstream, Duration d) {
  for (auto& [name, sum] : waiting) {
    if (name == upstream) {
      sum += d;
      return;
    }
  }
  try {
    waiting.emplace_back(upstream, d);
  } catch (const std::bad_alloc&) {
    // The wait goes unaccounted; what waits must go on.
  }
}

}  // namespace penstock::fiber
