#include "runtime/fiber/timer_wheel.h"

#include <algorithm>
#include <bit>
#include <utility>

namespace penstock::fiber {
namespace {

std::uint64_t count(Instant at) noexcept { return static_cast<std::uint64_t>(at.time_since_epoch().count()); }

}  // namespace

void TimerWheel::add(Timer& timer, Instant at) {
  // So that moving down needs no memory.
  heap_.make_room(size() + 1);
  // Whatever is in the past is due at once.
  timer.at_ = std::max(at, Instant());
  place(timer);
}

void TimerWheel::place(Timer& timer) noexcept {
  const std::uint64_t at = count(timer.at_);
  if (at >> kSlotBits <= present_ >> kSlotBits) {
    heap_.add(timer, timer.at_);
    return;
  }
  // In all bits above its level's it is like the present.
  const int level = (std::bit_width((at ^ present_) >> kSlotBits) - 1) / kLevelBits;
  const auto index = static_cast<std::size_t>((at >> (kSlotBits + level * kLevelBits)) & 63);
  Level& to = levels_[static_cast<std::size_t>(level)];
  Slot& slot = to.slots[index];
  to.occupied |= std::uint64_t{1} << index;
  if (slot.first == nullptr || timer.at_ < slot.earliest) slot.earliest = timer.at_;
  timer.next_ = slot.first;
  timer.link_ = &slot.first;
  if (slot.first != nullptr) slot.first->link_ = &timer.next_;
  slot.first = &timer;
  ++linked_;
}

// What is in a lower level comes before what is in a higher one.
bool TimerWheel::find_first(Found& found) noexcept {
  if (linked_ == 0) return false;
  for (int i = 0; i < kLevels; ++i) {
    Level& level = levels_[static_cast<std::size_t>(i)];
    while (level.occupied != 0) {
      const int slot = std::countr_zero(level.occupied);
      if (level.slots[static_cast<std::size_t>(slot)].first != nullptr) {
        found = {i, slot};
        return true;
      }
      level.occupied &= level.occupied - 1;
    }
  }
  return false;
}

Instant TimerWheel::start_of(Found found) const noexcept {
  const int low = kSlotBits + found.level * kLevelBits;
  const int high = low + kLevelBits;
  const std::uint64_t above = high < 64 ? present_ >> high << high : 0;
  return Instant(Duration(static_cast<Duration::rep>(above | static_cast<std::uint64_t>(found.slot) << low)));
}

Instant TimerWheel::next() noexcept {
  const Instant near = heap_.next();
  Found found;
  if (near != Instant::max() || !find_first(found)) return near;
  return levels_[static_cast<std::size_t>(found.level)].slots[static_cast<std::size_t>(found.slot)].earliest;
}

void TimerWheel::expire(Instant now) noexcept {
  if (count(now) >> kSlotBits > present_ >> kSlotBits) {
    Found found;
    while (find_first(found)) {
      const Instant start = start_of(found);
      if (start > now) break;
      present_ = count(start);
      Level& level = levels_[static_cast<std::size_t>(found.level)];
      level.occupied &= level.occupied - 1;
      Timer* timer = std::exchange(level.slots[static_cast<std::size_t>(found.slot)].first, nullptr);
      while (timer != nullptr) {
        Timer& moved = *std::exchange(timer, timer->next_);
        moved.link_ = nullptr;
        --linked_;
        place(moved);
      }
    }
    present_ = count(now);
  }
  heap_.expire(now);
}

}  // namespace penstock::fiber
