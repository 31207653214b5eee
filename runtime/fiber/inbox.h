#pragma once

#include <atomic>
#include <mutex>
#include <vector>

#include "penstock/callable.h"
#include "penstock/spin_lock.h"

namespace penstock::fiber {

class Waiter;

// What other threads send to a scheduler thread: ended waits, functions to run, and bare wake-ups. Senders may hold it
// longer than the scheduler lives.
//
// No wake-up is lost: a sender publishes first and then looks whether the owner sleeps; the owner says that it sleeps
// first and then looks whether anything was published. Only a sender that finds it asleep pays for a system call.
class Inbox {
 public:
  Inbox();
  ~Inbox();
  Inbox(const Inbox&) = delete;
  Inbox& operator=(const Inbox&) = delete;

  // Thread-safe.
  //
  // Runs fn on the owner's dispatcher, where it must not wait nor throw. False when closed.
  bool post(Callable fn);
  void push(Waiter& ended) noexcept;
  void notify() noexcept;
  // Runs fn on the owner's dispatcher; one that was not run before is forgotten. Async-signal-safe.
  void interrupt(void (*fn)() noexcept) noexcept {
    interrupt_.store(fn);
    notify();
  }

  // The owner's.
  //
  // Whether anything has come since the last call.
  bool take_flag() noexcept { return flagged_.load(std::memory_order_relaxed) && flagged_.exchange(false); }
  // In order of arrival; null: none.
  Waiter* take_ended() noexcept;
  void run_posts();
  // False when something has come, and it must not sleep. After sleeping, or not: wake_up().
  bool fall_asleep() noexcept;
  void wake_up() noexcept { sleeping_.store(false, std::memory_order_relaxed); }
  // Refuses all further posts; false and no effect while some are left.
  bool close();
  // Becomes readable (edge-triggered) when a sender wakes the owner.
  int event_fd() const noexcept { return event_fd_; }

 private:
  std::atomic<bool> flagged_{false};
  std::atomic<bool> sleeping_{false};
  std::atomic<Waiter*> ended_{nullptr};
  std::atomic<void (*)() noexcept> interrupt_{nullptr};
  const int event_fd_;

  SpinLock lock_;
  std::vector<Callable> posts_;
  bool closed_ = false;
};

}  // namespace penstock::fiber
