#pragma once

#include "penstock/error.h"
#include "penstock/spin_lock.h"

// What the primitives of sync.h and queue.h are made of. Not for direct use.
namespace penstock::fiber {

enum class Wake;
class Waiter;

// One wait in a WaitList; on the stack of who waits. The members belong to the owner's lock.
struct Wait {
  explicit Wait(void* slot = nullptr) noexcept : slot(slot) {}

  // Whatever the two sides agree on, such as where an item goes.
  void* slot;
  bool flag = false;

 private:
  friend class WaitList;
  Wait* next_ = nullptr;
  Wait* previous_ = nullptr;
  Waiter* waiter_ = nullptr;
};

// The fibers and plain threads that wait for one thing, first come first served. Guarded by the owner's SpinLock.
//
// Exactly one side decides how a wait ends: release() succeeds, and then the waiting side learns that it was released,
// whatever became of its deadline or its cancellation in the meantime; or it gives up, and no release() will choose it.
// So nothing that is handed over by a release is ever lost.
//
// Who was released takes the lock once more before it goes on. The owner may therefore be destroyed by it: the
// releasing side touches nothing after its unlock.
class WaitList {
 public:
  WaitList() = default;
  WaitList(const WaitList&) = delete;
  WaitList& operator=(const WaitList&) = delete;

  bool empty() const noexcept { return first_ == nullptr; }

  // Ends the longest wait: valid until the lock is dropped. Null when nobody waits any more.
  Wait* release() noexcept;
  void release_all() noexcept {
    while (release() != nullptr) {
    }
  }

  // Joins the list (at its end, or before all others), drops the lock, waits until released, the deadline or
  // cancellation, and locks again. Throws std::bad_alloc, having left the list, with the lock held.
  enum class Place { last, first };
  Wake wait(SpinLock& lock, Wait& place, Instant until, const char* waiting_for, Place where = Place::last);
  // The same; false: `until` has passed. Throws DeadlineExceeded and Cancelled of the fiber, with the lock held.
  bool wait_or_throw(SpinLock& lock, Wait& place, Instant until, const char* waiting_for);

 private:
  void insert(Wait& place, Place where) noexcept;
  void remove(Wait& place) noexcept;

  Wait* first_ = nullptr;
  Wait* last_ = nullptr;
};

}  // namespace penstock::fiber
