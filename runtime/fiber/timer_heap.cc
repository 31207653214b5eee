#include "runtime/fiber/timer_heap.h"

namespace penstock::fiber {

void TimerHeap::add(Timer& timer, Instant at) {
  entries_.push_back({});
  sift_up(entries_.size() - 1, {at, &timer});
}

void TimerHeap::remove(Timer& timer) noexcept {
  const std::size_t index = timer.heap_index_ - 1;
  timer.heap_index_ = 0;
  const Entry last = entries_.back();
  entries_.pop_back();
  if (index == entries_.size()) return;
  if (index > 0 && last.at < entries_[(index - 1) / 2].at) {
    sift_up(index, last);
  } else {
    sift_down(index, last);
  }
}

void TimerHeap::expire(Instant now) noexcept {
  while (!entries_.empty() && entries_.front().at <= now) {
    Timer& timer = *entries_.front().timer;
    remove(timer);
    timer.on_time();
  }
}

void TimerHeap::place(std::size_t index, Entry entry) noexcept {
  entries_[index] = entry;
  entry.timer->heap_index_ = index + 1;
}

void TimerHeap::sift_up(std::size_t index, Entry entry) noexcept {
  while (index > 0) {
    const std::size_t parent = (index - 1) / 2;
    if (entries_[parent].at <= entry.at) break;
    place(index, entries_[parent]);
    index = parent;
  }
  place(index, entry);
}

void TimerHeap::sift_down(std::size_t index, Entry entry) noexcept {
  for (;;) {
    std::size_t child = 2 * index + 1;
    if (child >= entries_.size()) break;
    if (child + 1 < entries_.size() && entries_[child + 1].at < entries_[child].at) ++child;
    if (entry.at <= entries_[child].at) break;
    place(index, entries_[child]);
    index = child;
  }
  place(index, entry);
}

}  // namespace penstock::fiber
