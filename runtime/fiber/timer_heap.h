#pragma once

#include <cstddef>
#include <vector>

#include "penstock/error.h"

namespace penstock::fiber {

class Waiter;

// The waits of one thread that have a deadline, earliest first: a binary heap whose members know their place.
class TimerHeap {
 public:
  // `waiter` must not be in the heap. May throw std::bad_alloc.
  void add(Waiter& waiter, Instant at);
  // No effect when it is not in the heap.
  void remove(Waiter& waiter) noexcept;
  // Of the earliest; Instant::max() when empty.
  Instant next() const noexcept { return entries_.empty() ? Instant::max() : entries_.front().at; }
  // Ends the waits whose time has come, in the order of their deadlines.
  void expire(Instant now) noexcept;
  std::size_t size() const noexcept { return entries_.size(); }

 private:
  struct Entry {
    Instant at;
    Waiter* waiter;
  };
  void place(std::size_t index, Entry entry) noexcept;
  void sift_up(std::size_t index, Entry entry) noexcept;
  void sift_down(std::size_t index, Entry entry) noexcept;

  std::vector<Entry> entries_;
};

}  // namespace penstock::fiber
