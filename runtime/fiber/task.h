#pragma once

#include <cstddef>
#include <exception>
#include <string>

#include "penstock/error.h"
#include "runtime/fiber/task_name.h"

namespace penstock::fiber {

// What waits for its turn on a scheduler thread: a fiber that goes on, or a task that has not started.
class Runnable {
 public:
  Runnable(const Runnable&) = delete;
  Runnable& operator=(const Runnable&) = delete;
  bool is_task() const noexcept { return is_task_; }

 protected:
  explicit Runnable(bool is_task) noexcept : is_task_(is_task) {}
  ~Runnable() = default;

 private:
  friend class RunQueue;
  Runnable* next_ = nullptr;
  const bool is_task_;
};

// Something that becomes a fiber when its turn comes: Scheduler::start() queues it without an allocation, and it has
// no stack before a worker fiber takes it. It may be started again once run() or refused() was entered; nothing of it
// is touched after these return, so that they may destroy it.
class Task : public Runnable {
 public:
  // As a fiber: may wait. Its FiberState (Scheduler::running().state) begins as that of a fiber without deadline.
  virtual void run() noexcept = 0;
  // Adds what dumps and logs call it; asked for only by these. On the task's thread, from the start to the end, also by
  // signal handlers: must not allocate.
  virtual void describe(TaskName& name) const noexcept = 0;
  // Instead of run(), when there was no memory for a stack for as long as tasks wait for one (Scheduler::start()).
  // On the dispatcher, or whichever fiber was about to switch: must not wait.
  virtual void refused(std::exception_ptr why) noexcept = 0;

  // When it was last queued.
  Instant queued() const noexcept { return queued_; }

 protected:
  // On a stack of at least so many bytes; 0: as all have it on the scheduler.
  explicit Task(std::size_t stack_bytes = 0) noexcept : Runnable(true), stack_bytes_(stack_bytes) {}
  ~Task() = default;

 private:
  friend class Scheduler;
  const std::size_t stack_bytes_;
  Instant queued_{};
};

// First in, first out.
class RunQueue {
 public:
  bool empty() const noexcept { return first_ == nullptr; }
  // How many, of which more than two count as two.
  int up_to_two() const noexcept { return first_ == nullptr ? 0 : first_ == last_ ? 1 : 2; }
  Runnable& front() noexcept { return *first_; }
  void push_back(Runnable& last) noexcept {
    last.next_ = nullptr;
    (first_ == nullptr ? first_ : last_->next_) = &last;
    last_ = &last;
  }
  Runnable& pop_front() noexcept {
    Runnable& first = *first_;
    first_ = first.next_;
    return first;
  }

 private:
  Runnable* first_ = nullptr;
  Runnable* last_ = nullptr;
};

}  // namespace penstock::fiber
