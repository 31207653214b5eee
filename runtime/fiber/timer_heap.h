#pragma once

#include <cstddef>
#include <vector>

#include "penstock/error.h"
#include "runtime/fiber/timer.h"

namespace penstock::fiber {

// Timers, earliest first: a binary heap whose members know their place.
class TimerHeap {
 public:
  // So many can be added without an allocation. Throws std::bad_alloc.
  void make_room(std::size_t count) {
    if (count > entries_.capacity()) entries_.reserve(2 * count);
  }
  // `timer` must not be in the heap. Throws std::bad_alloc when there is no room.
  void add(Timer& timer, Instant at);
  // `timer` must be in the heap.
  void remove(Timer& timer) noexcept;
  // Of the earliest; Instant::max() when empty.
  Instant next() const noexcept { return entries_.empty() ? Instant::max() : entries_.front().at; }
  // Those whose time has come, in the order of their times.
  void expire(Instant now) noexcept;
  std::size_t size() const noexcept { return entries_.size(); }

 private:
  struct Entry {
    Instant at;
    Timer* timer;
  };
  void place(std::size_t index, Entry entry) noexcept;
  void sift_up(std::size_t index, Entry entry) noexcept;
  void sift_down(std::size_t index, Entry entry) noexcept;

  std::vector<Entry> entries_;
};

}  // namespace penstock::fiber
