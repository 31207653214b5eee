#pragma once

#include <cstddef>

#include "penstock/error.h"
#include "penstock/spin_lock.h"
#include "runtime/fiber/scheduler.h"
#include "runtime/fiber/waiter.h"

namespace penstock::interpose {

class Parking;

// Those that wait at some of the addresses of the process, first come first served.
struct ParkingRow {
  SpinLock lock;
  Parking* first = nullptr;
  Parking* last = nullptr;
};

// Holds the lock of the row that an address belongs to. Whoever decides whether to wait there and whoever ends waits
// there do so under it.
class ParkingLock {
 public:
  explicit ParkingLock(const void* address) noexcept;
  ~ParkingLock();
  ParkingLock(const ParkingLock&) = delete;
  ParkingLock& operator=(const ParkingLock&) = delete;

  // Who has waited longest at the address, and was not given it yet; null: nobody.
  Parking* first() const noexcept;
  // Ends that wait. False: it had ended by itself. It is in the row no more, either way.
  bool wake(Parking& parking) noexcept;
  // The same, and what lies at the address is its: `granted`. Until it goes on, others of its thread may take that
  // back.
  bool hand_over(Parking& parking) noexcept;
  // The same, for up to so many that wait at the address; how many were woken.
  std::size_t wake_up_to(std::size_t most) noexcept;

 private:
  friend class Parking;
  // From a fiber of the calling thread that was given what lies at the address, and has not gone on.
  bool take_back() noexcept;

  const void* const address_;
  ParkingRow& row_;
};

// Of the calling thread: for a signal handler that has interrupted it.
bool holds_parking_row() noexcept;
// Calls function(argument) at once, or, from a signal handler that has interrupted its thread while that holds a row,
// when it holds none any more. For wakes that nobody minds to be one too many.
void call_without_row(void (*function)(void*), void* argument) noexcept;

// A wait of the calling fiber or plain thread at an address: what a futex is for threads, for both. Addresses are only
// compared; what lies there may be gone when the wait has ended. Lives on the stack of who waits.
//
// Neither the fiber's deadline nor its cancellation by the runtime ends it: callers are functions of pthread, which
// have no errors for that.
class Parking {
 public:
  enum class End { woken, timed_out, interrupted };
  enum class Place { last, first };

  Parking(const void* address, const char* what) noexcept
      : address_(address), home_(fiber::Scheduler::current()), waiter_(what) {}
  Parking(const Parking&) = delete;
  Parking& operator=(const Parking&) = delete;

  // Under the lock of its address.
  void join(ParkingLock& lock, Place place = Place::last) noexcept;
  // After join(), without the lock. `on_leaving` is called under the lock when nobody has woken it.
  template <class F>
  End wait(Instant until, F&& on_leaving) noexcept {
    sleep(until);
    ParkingLock lock(address_);
    if (joined_) {
      leave(lock.row_);
      on_leaving();
    }
    return interrupted_ ? End::interrupted : timed_out_ ? End::timed_out : End::woken;
  }
  End wait(Instant until) noexcept {
    return wait(until, [] {});
  }
  // From anywhere, while whoever calls knows that the wait has not returned.
  void interrupt() noexcept;

  // What the two sides agree on.
  bool asked = false;
  bool granted = false;
  unsigned bits = ~0U;

 private:
  friend class ParkingLock;
  void sleep(Instant until) noexcept;
  void sleep_in_naps(Instant until) noexcept;
  void leave(ParkingRow& row) noexcept;

  const void* const address_;
  fiber::Scheduler* const home_;
  fiber::Waiter waiter_;
  Parking* next_ = nullptr;
  Parking* previous_ = nullptr;
  bool joined_ = false;
  bool interrupted_ = false;
  bool timed_out_ = false;
};

// For what can only be tried again and again, such as locks that other processes share: waits longer from time to time.
class Backoff {
 public:
  // At the latest until then; false: that has passed.
  bool wait(Instant until) noexcept;

 private:
  int tries_ = 0;
};

}  // namespace penstock::interpose
