#pragma once

#include <atomic>
#include <cstddef>
#include <string>

#include "penstock/error.h"
#include "runtime/fiber/timer.h"

namespace penstock::fiber {

class Scheduler;
class Task;
struct Properties;

// Why a wait ended.
enum class Wake { notified, deadline, cancelled };

// What is waited for, as a dump of fibers shows it: "data to read from 10.0.0.1:5432", "a place in a pool 'default'".
struct WaitingFor {
  // A static text.
  const char* what;
  // The socket whose peer is named; -1: none.
  int fd = -1;
  // Lives as long as the wait; null: none.
  const std::string* name = nullptr;
  // The same; null: it is no fiber's end.
  const Task* fiber = nullptr;
};

// The one primitive that everything waits with: parks the fiber that made it until it is notified, its deadline passes
// or the fiber is cancelled; exactly one of the three wins. Lives on the waiting fiber's stack, for one wait. On a
// thread without a scheduler it blocks the thread, and there is no cancellation.
//
// notify() is thread-safe and may come before wait(), which then returns at once. After wait() returned anything but
// `notified`, no notify() will succeed any more; whoever keeps the waiter in a list removes it before it is destroyed.
class Waiter final : public Timer {
 public:
  // Of the calling fiber or plain thread.
  explicit Waiter(const char* what = "something") : Waiter(WaitingFor{what}) {}
  explicit Waiter(WaitingFor what);
  ~Waiter();
  Waiter(const Waiter&) = delete;
  Waiter& operator=(const Waiter&) = delete;

  // At the latest until min(until, the fiber's deadline). Throws std::logic_error in a callback of a
  // scheduler thread's dispatcher, and std::bad_alloc.
  Wake wait(Instant until = Instant::max());

  // True when this call ended the wait.
  bool notify() noexcept { return end(Wake::notified); }

  const WaitingFor& waiting_for() const noexcept { return waiting_for_; }

 private:
  friend class Scheduler;
  friend class Inbox;
  friend void cancel(struct FiberState& state) noexcept;

  // A wait is armed, then parked (its fiber is suspended, or about to be), then ended; armed may end directly.
  enum Phase { armed, parked, ended };
  void on_time() noexcept override { end(Wake::deadline); }
  bool end(Wake why) noexcept;
  Wake wait_on_thread(Instant until) noexcept;
  bool end_on_thread(Wake why) noexcept;

  // Null on a plain thread.
  Scheduler* scheduler_;
  Properties* fiber_;
  // Phase, or ended plus the reason. What a plain thread's futex waits on.
  std::atomic<int> state_{armed};
  Waiter* next_ended_ = nullptr;
  const WaitingFor waiting_for_;
};

// Throws what `why` stands for: DeadlineExceeded if the fiber's own deadline passed, Cancelled; returns for `notified`
// and for a deadline that was only the wait's own. Plain threads have no other.
void throw_if_interrupted(Wake why, const char* waiting_for);

}  // namespace penstock::fiber
