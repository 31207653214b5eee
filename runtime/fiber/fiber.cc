#include "penstock/fiber.h"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <mutex>
#include <new>
#include <stdexcept>
#include <utility>

#include "runtime/fiber/fiber_access.h"
#include "runtime/fiber/scheduler.h"
#include "runtime/telemetry/one_line.h"

namespace penstock {

struct Fiber::State::Joiner {
  fiber::Waiter waiter;
  Joiner* next = nullptr;
};

Fiber::State* Fiber::State::make(std::shared_ptr<fiber::Inbox> home, std::string_view name, Callable fn) {
  void* place = ::operator new(sizeof(State) + name.size());
  auto* state = new (place) State(std::move(home), name.size(), std::move(fn));
  std::memcpy(static_cast<std::byte*>(place) + sizeof(State), name.data(), name.size());
  return state;
}

void Fiber::State::release() noexcept {
  // The last one need not tell anybody.
  if (references_.load(std::memory_order_acquire) != 1 && references_.fetch_sub(1, std::memory_order_acq_rel) != 1) {
    return;
  }
  this->~State();
  ::operator delete(this);
}

Fiber::State::~State() {
  if (!error_ || error_taken_.load(std::memory_order_relaxed)) return;
  try {
    std::rethrow_exception(error_);
  } catch (const Cancelled& e) {
    spdlog::debug("fiber '{}' ended: {}", name(), e.what());
  } catch (const std::exception& e) {
    spdlog::error("fiber '{}' ended by an exception: {}", telemetry::OneLine{name()}, telemetry::OneLine{e.what()});
  } catch (...) {
    spdlog::error("fiber '{}' ended by an exception of unknown type", telemetry::OneLine{name()});
  }
}

void Fiber::State::inherit(const fiber::FiberState& parent) {
  deadline_ = parent.deadline;
  account_ = parent.account;
}

void Fiber::State::start_now() noexcept { fiber::Scheduler::current()->start(*this); }

void Fiber::State::start_at(Instant t) {
  try {
    fiber::Scheduler::current()->start_at(t, delay_.emplace(*this));
  } catch (...) {
    release();
    throw;
  }
}

void Fiber::State::run() noexcept {
  fiber::Scheduler& scheduler = *fiber::Scheduler::current();
  fiber::Properties& worker = scheduler.running();
  running_ = &worker.state;
  delay_.reset();
  running_->deadline = deadline_;
  if (account_) {
    account_->ready += scheduler.now() - queued();
    running_->account = std::move(account_);
  }
  if (cancelled_early_) running_->cancelled = true;
  std::exception_ptr error;
  try {
    fn_();
  } catch (...) {
    error = std::current_exception();
  }
  // All that is the fiber's is gone before its end is announced.
  fn_.reset();
  fiber::clear_locals();
  running_ = nullptr;
  scheduler.end_task(worker);
  end(std::move(error));
}

void Fiber::State::refused(std::exception_ptr why) noexcept {
  // The scheduler has logged it.
  error_taken_.store(true, std::memory_order_relaxed);
  fn_.reset();
  account_.reset();
  end(std::move(why));
}

void Fiber::State::end(std::exception_ptr error) noexcept {
  Joiner* joiner;
  {
    std::lock_guard guard(lock_);
    error_ = std::move(error);
    ended_.store(true, std::memory_order_release);
    joiner = std::exchange(joining_, nullptr);
    while (joiner != nullptr) std::exchange(joiner, joiner->next)->waiter.notify();
  }
  release();
}

bool Fiber::State::leave(Joiner& joiner) noexcept {
  std::lock_guard guard(lock_);
  for (Joiner** at = &joining_; *at != nullptr; at = &(*at)->next) {
    if (*at != &joiner) continue;
    *at = joiner.next;
    return true;
  }
  return false;
}

bool Fiber::State::join(Instant until) {
  if (!ended()) {
    Joiner joiner{fiber::Waiter({.what = "a fiber to end:", .fiber = this})};
    {
      std::unique_lock lock(lock_);
      if (!ended_.load(std::memory_order_relaxed)) {
        joiner.next = joining_;
        joining_ = &joiner;
      } else {
        joiner.waiter.notify();
      }
    }
    fiber::Wake why = fiber::Wake::notified;
    try {
      why = joiner.waiter.wait(until);
    } catch (...) {
      leave(joiner);
      throw;
    }
    if (why != fiber::Wake::notified) {
      leave(joiner);
      fiber::throw_if_interrupted(why, "a fiber to end");
      return false;
    }
  }
  error_taken_.store(true, std::memory_order_relaxed);
  if (never_began_) throw Cancelled("a fiber that was cancelled before its time");
  if (error_) std::rethrow_exception(error_);
  return true;
}

void Fiber::State::cancel_here() noexcept {
  if (ended()) return;
  if (running_ != nullptr) {
    fiber::cancel(*running_);
  } else if (delay_ && delay_->waits()) {
    fiber::Scheduler::current()->withdraw(*delay_);
    // Without an exception that perhaps nobody takes: they are dear.
    never_began_ = true;
    refused(nullptr);
  } else {
    cancelled_early_ = true;
  }
}

void Fiber::release() noexcept { state_->release(); }

bool Fiber::done() const {
  if (state_ == nullptr) throw std::logic_error("done() of a handle without a fiber");
  return state_->ended();
}

void Fiber::join() { join_until(Instant::max()); }

bool Fiber::join_for(Duration d) { return join_until(fiber::time_in(d)); }

bool Fiber::join_until(Instant t) {
  if (state_ == nullptr) throw std::logic_error("join() of a handle without a fiber");
  if (fiber::on_fiber() && fiber::current().task == state_) {
    throw std::logic_error("a fiber waits for its own end");
  }
  return state_->join(t);
}

void Fiber::cancel() {
  if (state_ == nullptr || state_->ended()) return;
  fiber::Scheduler* scheduler = fiber::Scheduler::current();
  if (scheduler != nullptr && scheduler->inbox() == state_->home()) return state_->cancel_here();
  const bool posted = state_->home()->post([state = state_->hold()] {
    state->cancel_here();
    state->release();
  });
  if (!posted) state_->release();
}

Fiber FiberAccess::spawn_here(std::string_view name, Callable fn, bool inherit) {
  Fiber fiber;
  fiber.state_ = Fiber::State::make(fiber::Scheduler::current()->inbox(), name, std::move(fn));
  if (inherit) fiber.state_->inherit(fiber::current());
  fiber.state_->start_now();
  return fiber;
}

Fiber FiberAccess::spawn_after(Duration d, std::string_view name, Callable fn) {
  Fiber fiber;
  fiber.state_ = Fiber::State::make(fiber::Scheduler::current()->inbox(), name, std::move(fn));
  fiber.state_->inherit(fiber::current());
  fiber.state_->start_at(fiber::time_in(d));
  return fiber;
}

Fiber FiberAccess::spawn_at(const std::shared_ptr<fiber::Inbox>& home, std::string_view name, Callable fn) {
  Fiber fiber;
  fiber.state_ = Fiber::State::make(home, name, std::move(fn));
  const bool posted = home->post([state = fiber.state_] { state->start_now(); });
  if (!posted) {
    fiber.state_->release();
    throw std::logic_error("the scheduler thread has ended");
  }
  return fiber;
}

Fiber spawn(std::string_view name, Callable fn) {
  fiber::require_fiber("spawn()");
  return FiberAccess::spawn_here(name, std::move(fn), true);
}

Fiber spawn_after(Duration d, std::string_view name, Callable fn) {
  fiber::require_fiber("spawn_after()");
  return FiberAccess::spawn_after(d, name, std::move(fn));
}

void sleep_for(Duration d) {
  if (d <= Duration::zero() && fiber::on_fiber()) return yield();
  sleep_until(fiber::time_in(d));
}

void sleep_until(Instant t) {
  fiber::Waiter waiter("a sleep");
  fiber::throw_if_interrupted(waiter.wait(t), "a sleep");
}

void yield() {
  fiber::Scheduler* scheduler = fiber::Scheduler::current();
  if (scheduler == nullptr || scheduler->running().is_dispatcher) fiber::require_fiber("yield()");
  const fiber::FiberState& state = scheduler->running().state;
  if (state.cancelled || state.deadline != Instant::max()) check_interrupts();
  scheduler->yield();
}

DeadlineScope::DeadlineScope(Instant deadline) : previous_(fiber::current().deadline) {
  fiber::current().deadline = std::min(previous_, deadline);
}

DeadlineScope::DeadlineScope(Duration time) : DeadlineScope(fiber::time_in(time)) {}

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
