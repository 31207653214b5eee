#include "penstock/fiber.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <boost/context/detail/exception.hpp>
#include <boost/fiber/fiber.hpp>
#include <chrono>
#include <stdexcept>
#include <utility>

#include "runtime/fiber/fiber_access.h"
#include "runtime/fiber/scheduler.h"

namespace penstock {

Fiber::State::~State() {
  if (!error || error_taken) return;
  try {
    std::rethrow_exception(error);
  } catch (const Cancelled& e) {
    spdlog::debug("fiber '{}' ended: {}", name, e.what());
  } catch (const std::exception& e) {
    spdlog::error("fiber '{}' ended by an exception: {}", name, e.what());
  } catch (...) {
    spdlog::error("fiber '{}' ended by an exception of unknown type", name);
  }
}

void Fiber::join() {
  if (!state_) throw std::logic_error("join() of a handle without a fiber");
  State& target = *state_;
  fiber::Waiter waiter({.what = "a fiber to end:", .name = &target.name});
  fiber::Wake why = fiber::Wake::notified;
  {
    std::unique_lock lock(target.mutex);
    if (!target.ended) {
      target.joining.push_back(&waiter);
      lock.unlock();
      why = waiter.wait();
      lock.lock();
      std::erase(target.joining, &waiter);
    }
  }
  fiber::throw_if_interrupted(why, "a fiber to end");
  std::exception_ptr error;
  {
    std::lock_guard lock(target.mutex);
    target.error_taken = true;
    error = target.error;
  }
  if (error) std::rethrow_exception(error);
}

void Fiber::cancel() {
  if (!state_) return;
  auto cancel_here = [state = state_] {
    if (state->properties != nullptr) {
      fiber::cancel(state->properties->state);
    } else {
      state->cancelled_early = true;
    }
  };
  fiber::Scheduler* scheduler = fiber::Scheduler::current();
  if (scheduler != nullptr && scheduler->inbox() == state_->home) {
    cancel_here();
  } else {
    state_->home->post(std::move(cancel_here));
  }
}

Fiber FiberAccess::spawn_here(std::string_view name, std::function<void()> fn, bool inherit) {
  Fiber fiber;
  fiber.state_ = std::make_shared<Fiber::State>(fiber::Scheduler::current()->inbox());
  fiber.state_->name = name;
  start(fiber.state_, std::move(fn), inherit);
  return fiber;
}

Fiber FiberAccess::spawn_at(const std::shared_ptr<fiber::Inbox>& home, std::string_view name,
                            std::function<void()> fn) {
  Fiber fiber;
  fiber.state_ = std::make_shared<Fiber::State>(home);
  fiber.state_->name = name;
  const bool posted = home->post([state = fiber.state_, fn = std::move(fn)]() mutable {
    try {
      start(state, std::move(fn), false);
    } catch (...) {
      end(*state, std::current_exception());
    }
  });
  if (!posted) throw std::logic_error("the scheduler thread has ended");
  return fiber;
}

void FiberAccess::start(const std::shared_ptr<Fiber::State>& state, std::function<void()> fn, bool inherit) {
  fiber::Scheduler& scheduler = *fiber::Scheduler::current();
  auto properties = std::make_unique<fiber::Properties>(nullptr);
  fiber::Properties& fiber = *properties;
  fiber.since = scheduler.now();
  fiber.state.name = state->name;
  fiber.state.cancelled = state->cancelled_early;
  if (inherit) {
    const fiber::FiberState& parent = fiber::current();
    fiber.state.deadline = parent.deadline;
    fiber.state.account = parent.account;
  }
  const boost::context::stack_context stack = scheduler.stacks().allocate();
  fiber.strand.runs_on(stack);
  boost::fibers::fiber started(boost::fibers::launch::post, static_cast<boost::fibers::fiber_properties*>(&fiber),
                               std::allocator_arg, fiber::StackAllocator(scheduler.stacks(), stack),
                               [state, fn = std::move(fn)]() mutable {
                                 std::exception_ptr error;
                                 try {
                                   // Moved, so that what it captured is gone before the end is announced.
                                   const std::function<void()> body = std::move(fn);
                                   body();
                                 } catch (const boost::context::detail::forced_unwind&) {
                                   throw;
                                 } catch (...) {
                                   error = std::current_exception();
                                 }
                                 fiber::clear_locals();
                                 end(*state, std::move(error));
                               });
  properties.release();
  state->properties = &fiber;
  scheduler.enlist(fiber);
  started.detach();
}

void FiberAccess::end(Fiber::State& state, std::exception_ptr error) noexcept {
  if (state.properties != nullptr) {
    fiber::Scheduler& scheduler = *fiber::Scheduler::current();
    scheduler.settle_account(*state.properties);
    state.properties->state.account = nullptr;
    scheduler.delist(*std::exchange(state.properties, nullptr));
  }
  std::lock_guard lock(state.mutex);
  state.ended = true;
  state.error = std::move(error);
  for (fiber::Waiter* waiter : state.joining) waiter->notify();
}

Fiber spawn(std::string_view name, std::function<void()> fn) {
  if (!fiber::on_fiber()) throw std::logic_error("spawn() outside a fiber");
  return FiberAccess::spawn_here(name, std::move(fn), true);
}

void sleep_for(Duration d) {
  if (d <= Duration::zero()) return yield();
  const Instant now = std::chrono::steady_clock::now();
  sleep_until(d > Instant::max() - now ? Instant::max() : now + d);
}

void sleep_until(Instant t) {
  fiber::Waiter waiter("a sleep");
  fiber::throw_if_interrupted(waiter.wait(t), "a sleep");
}

void yield() {
  check_interrupts();
  boost::fibers::context::active()->yield();
}

DeadlineScope::DeadlineScope(Instant deadline) : previous_(fiber::current().deadline) {
  fiber::current().deadline = std::min(previous_, deadline);
}

DeadlineScope::~DeadlineScope() { fiber::current().deadline = previous_; }

CancelShield::CancelShield() { ++fiber::current().shields; }

CancelShield::~CancelShield() { --fiber::current().shields; }

Instant current_deadline() { return fiber::current().deadline; }

void check_interrupts() {
  const fiber::FiberState& state = fiber::current();
  if (state.cancelled && state.shields == 0) throw Cancelled("cancelled");
  if (state.deadline != Instant::max() && state.deadline <= std::chrono::steady_clock::now()) {
    throw DeadlineExceeded("deadline passed");
  }
}

}  // namespace penstock
