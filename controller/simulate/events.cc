#include "controller/simulate/events.h"

#include <algorithm>

namespace penstock::simulate {
namespace {

constexpr std::size_t kChildren = 4;

}  // namespace

void Events::push(Instant when, Actor& actor, std::uint8_t kind, std::uint32_t argument, const Generation* generation) {
  const Event event{std::max(when, now_).time_since_epoch().count(),
                    order_++,
                    &actor,
                    generation,
                    argument,
                    generation ? *generation : 0,
                    kind};
  std::size_t hole = heap_.size();
  heap_.push_back(event);
  while (hole > 0) {
    const std::size_t parent = (hole - 1) / kChildren;
    if (!event.before(heap_[parent])) break;
    heap_[hole] = heap_[parent];
    hole = parent;
  }
  heap_[hole] = event;
}

Events::Event Events::pop() {
  const Event first = heap_.front();
  const Event last = heap_.back();
  heap_.pop_back();
  if (heap_.empty()) return first;
  std::size_t hole = 0;
  for (;;) {
    const std::size_t child = hole * kChildren + 1;
    if (child >= heap_.size()) break;
    const std::size_t end = std::min(child + kChildren, heap_.size());
    std::size_t least = child;
    for (std::size_t i = child + 1; i < end; ++i) {
      if (heap_[i].before(heap_[least])) least = i;
    }
    if (!heap_[least].before(last)) break;
    heap_[hole] = heap_[least];
    hole = least;
  }
  heap_[hole] = last;
  return first;
}

void Events::run(Instant end) {
  const std::int64_t until = end.time_since_epoch().count();
  while (!heap_.empty() && heap_.front().when <= until) {
    const Event event = pop();
    if (event.generation && *event.generation != event.expected) continue;
    now_ = Instant(Duration(event.when));
    ++happened_;
    event.actor->happen(event.kind, event.argument);
  }
  now_ = std::max(now_, end);
}

}  // namespace penstock::simulate
