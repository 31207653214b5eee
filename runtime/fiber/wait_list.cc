#include "penstock/wait_list.h"

#include <mutex>

#include "runtime/fiber/waiter.h"

namespace penstock::fiber {

// A place is in the list as long as its waiter_ is set.

Wait* WaitList::release() noexcept {
  while (first_ != nullptr) {
    Wait& longest = *first_;
    Waiter& waiter = *longest.waiter_;
    remove(longest);
    // Otherwise it has given up, and is about to see that it is not in the list any more.
    if (waiter.notify()) return &longest;
  }
  return nullptr;
}

Wake WaitList::wait(SpinLock& lock, Wait& place, Instant until, const char* waiting_for, Place where) {
  Waiter waiter(waiting_for);
  place.waiter_ = &waiter;
  insert(place, where);
  lock.unlock();
  Wake why;
  try {
    why = waiter.wait(until);
  } catch (...) {
    lock.lock();
    if (waiter.notify()) {
      if (place.waiter_ != nullptr) remove(place);
      throw;
    }
    return Wake::notified;
  }
  lock.lock();
  if (place.waiter_ != nullptr) remove(place);
  return why;
}

bool WaitList::wait_or_throw(SpinLock& lock, Wait& place, Instant until, const char* waiting_for) {
  const Wake why = wait(lock, place, until, waiting_for);
  throw_if_interrupted(why, waiting_for);
  return why == Wake::notified;
}

void WaitList::insert(Wait& place, Place where) noexcept {
  Wait* const previous = where == Place::last ? last_ : nullptr;
  Wait* const next = where == Place::last ? nullptr : first_;
  place.previous_ = previous;
  place.next_ = next;
  (previous != nullptr ? previous->next_ : first_) = &place;
  (next != nullptr ? next->previous_ : last_) = &place;
}

void WaitList::remove(Wait& place) noexcept {
  (place.previous_ != nullptr ? place.previous_->next_ : first_) = place.next_;
  (place.next_ != nullptr ? place.next_->previous_ : last_) = place.previous_;
  place.waiter_ = nullptr;
}

}  // namespace penstock::fiber
