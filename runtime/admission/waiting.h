#pragma once

#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <optional>

#include "penstock/decision/admission.h"
#include "runtime/fiber/waiter.h"

namespace penstock {

// A fiber that waits for the verdict of a decision::Admission; lives on its stack while it waits.
//
// The owner's lock decides who ends the wait: either the fiber withdraws its ticket under the lock, or a verdict takes
// it out of the queue under the lock and is delivered after the lock was dropped. In the second case the fiber calls
// verdict() before it lets go of this, however its wait ended.
class Waiting {
 public:
  explicit Waiting(fiber::WaitingFor what) : waiter(what) {}

  fiber::Waiter waiter;

  // Waits the moment that the deliverer still needs, then tells.
  std::optional<RejectReason> verdict() const {
    for (int spins = 0; !delivered_.load(std::memory_order_acquire);) {
      if (++spins < 200) {
        __builtin_ia32_pause();
      } else {
        ::syscall(SYS_sched_yield);
      }
    }
    return rejected_;
  }

  // Without the owner's lock.
  void deliver(std::optional<RejectReason> rejected) noexcept {
    rejected_ = rejected;
    waiter.notify();
    // The last touch: its fiber may be gone the moment after.
    delivered_.store(true, std::memory_order_release);
  }

 private:
  std::optional<RejectReason> rejected_;
  std::atomic<bool> delivered_{false};
};

// Where the fiber's own ticket is what waits.
struct WaitingTicket : decision::Ticket, Waiting {
  using Waiting::Waiting;

  // To all of them.
  static void deliver(decision::Verdicts decided) noexcept {
    while (!decided.empty()) {
      const decision::Verdict verdict = decided.pop_front();
      static_cast<WaitingTicket*>(verdict.ticket)->Waiting::deliver(verdict.rejected);
    }
  }
};

}  // namespace penstock
