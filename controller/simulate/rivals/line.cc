#include "controller/simulate/rivals/line.h"

#include <algorithm>

namespace penstock::simulate {

bool Line::congested(Instant now) const { return size_ > 0 && now - last_empty_ > kN; }

void Line::note_empty(Instant now) {
  if (size_ == 0) {
    last_empty_ = now;
    soonest_ = Instant::max();
  }
}

void Line::add(std::uint32_t id, decision::Priority priority, Instant now) {
  note_empty(now);
  Duration may_wait = rule_.max_wait;
  if (rule_.order == Order::adaptive_lifo) may_wait = congested(now) ? kM : kN;

  if (places_.size() <= id) places_.resize(id + 1);
  Place& place = places_[id];
  place.lane = rule_.order == Order::priority ? static_cast<std::uint8_t>(priority) : 0;
  place.until = may_wait == Duration::max() ? Instant::max() : now + may_wait;
  place.waits = true;
  Lane& lane = lanes_[place.lane];
  place.before = lane.last;
  place.behind = kNone;
  (lane.last == kNone ? lane.first : places_[lane.last].behind) = id;
  lane.last = id;
  ++size_;
  soonest_ = std::min(soonest_, place.until);
}

bool Line::remove(std::uint32_t id, Instant now) {
  if (id >= places_.size() || !places_[id].waits) return false;
  Place& place = places_[id];
  Lane& lane = lanes_[place.lane];
  (place.before == kNone ? lane.first : places_[place.before].behind) = place.behind;
  (place.behind == kNone ? lane.last : places_[place.behind].before) = place.before;
  place.waits = false;
  --size_;
  note_empty(now);
  return true;
}

std::optional<std::uint32_t> Line::expired(Instant now) {
  if (now < soonest_) return std::nullopt;
  Instant soonest = Instant::max();
  for (const Lane& lane : lanes_) {
    for (std::uint32_t id = lane.first; id != kNone; id = places_[id].behind) {
      if (places_[id].until <= now) {
        remove(id, now);
        return id;
      }
      soonest = std::min(soonest, places_[id].until);
    }
  }
  soonest_ = soonest;
  return std::nullopt;
}

std::optional<std::uint32_t> Line::first(Instant now) const {
  const bool newest = rule_.order == Order::lifo || (rule_.order == Order::adaptive_lifo && congested(now));
  for (const Lane& lane : lanes_) {
    if (lane.first != kNone) return newest ? lane.last : lane.first;
  }
  return std::nullopt;
}

}  // namespace penstock::simulate
