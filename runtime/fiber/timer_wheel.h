#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "penstock/error.h"
#include "runtime/fiber/timer.h"
#include "runtime/fiber/timer_heap.h"

namespace penstock::fiber {

// The timers of one thread. Most are deadlines that are taken back long before their time, so setting one and taking it
// back cost the same few instructions however many others there are; none ends early, or later than it would in a heap.
//
// Time is cut into slots of 2^24 ns (17 ms). What is due within the present one is in a heap. What is due later is in
// the unordered list of its slot: level 0 has the 64 slots of the present 64-fold of a slot, level 1 the 64 slots of
// that size in the next larger one, and so on. When a slot becomes the present one its timers move down, to the level
// below or into the heap: at most seven times in the life of a timer, and seldom at all.
class TimerWheel {
 public:
  // `timer` must not be set. Throws std::bad_alloc.
  void add(Timer& timer, Instant at);
  // No effect when it is not set.
  void remove(Timer& timer) noexcept {
    if (timer.link_ != nullptr) {
      unlink(timer);
    } else if (timer.heap_index_ != 0) {
      heap_.remove(timer);
    }
  }
  // When expire() is to be called next: the time of the earliest, or of one that was taken back. Instant::max() when
  // there is none.
  Instant next() noexcept;
  // Those whose time has come, in the order of their times.
  void expire(Instant now) noexcept;
  std::size_t size() const noexcept { return linked_ + heap_.size(); }

 private:
  static constexpr int kSlotBits = 24;
  static constexpr int kLevelBits = 6;
  static constexpr int kLevels = 7;

  struct Slot {
    Timer* first = nullptr;
    // No timer of the list is earlier.
    Instant earliest;
  };
  struct Level {
    // May have the bit of a slot that has become empty.
    std::uint64_t occupied = 0;
    std::array<Slot, 1 << kLevelBits> slots;
  };
  struct Found {
    int level;
    int slot;
  };

  void place(Timer& timer) noexcept;
  void unlink(Timer& timer) noexcept {
    *timer.link_ = timer.next_;
    if (timer.next_ != nullptr) timer.next_->link_ = timer.link_;
    timer.link_ = nullptr;
    --linked_;
  }
  bool find_first(Found& found) noexcept;
  Instant start_of(Found found) const noexcept;

  TimerHeap heap_;
  std::size_t linked_ = 0;
  // Timers before its slot's end are in the heap.
  std::uint64_t present_ = 0;
  std::array<Level, kLevels> levels_;
};

}  // namespace penstock::fiber
