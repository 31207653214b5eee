#pragma once

#include <cstddef>
#include <vector>

#include "penstock/error.h"

namespace penstock::fiber {

// Something that is to be done at a time.
class Timer {
 public:
  Timer(const Timer&) = delete;
  Timer& operator=(const Timer&) = delete;

 protected:
  Timer() = default;
  ~Timer() = default;

 private:
  friend class TimerHeap;
  // On the dispatcher; it is in the heap no more. Must not wait.
  virtual void on_time() noexcept = 0;
  // Its place plus one; 0: in none.
  std::size_t heap_index_ = 0;
};

// The timers of one thread, earliest first: a binary heap whose members know their place.
class TimerHeap {
 public:
  // `timer` must not be in the heap. May throw std::bad_alloc.
  void add(Timer& timer, Instant at);
  // No effect when it is not in the heap.
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
