#pragma once

#include <cstddef>

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
  friend class TimerWheel;
  // On the dispatcher; it is set no more. Must not wait.
  virtual void on_time() noexcept = 0;
  // Its place in the heap plus one; 0: it is not there.
  std::size_t heap_index_ = 0;
  // What points to it in a slot of the wheel; null: it is not there.
  Timer** link_ = nullptr;
  Timer* next_;
  // While it is in the wheel.
  Instant at_;
};

}  // namespace penstock::fiber
