#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <mutex>

#include "penstock/decision/pool_sizing.h"
#include "penstock/decision/upstream_guard.h"
#include "penstock/spin_lock.h"

namespace penstock {

// A tick of a node, as all of its upstreams see it.
struct NodeTick {
  // Without the bulkhead.
  decision::UpstreamGuard::Tick tick{};
  // What requests may use, how many are in flight, and what each uses.
  std::int64_t memory = 0;
  int in_flight = 0;
  std::int64_t bytes_per_request = 0;

  // For an upstream with so many in it or waiting. That is bounded by memory; the policy's max bounds only what is in
  // it.
  decision::UpstreamGuard::Tick of(double memory_share, int min, int calls) const {
    decision::UpstreamGuard::Tick made = tick;
    made.bulkhead = decision::bulkhead(memory_share, min, std::numeric_limits<int>::max(), memory,
                                       std::max(0, in_flight - calls) * bytes_per_request, bytes_per_request);
    return made;
  }
};

// The latest ticks of a node. An upstream that nobody calls sleeps, and nothing of it is read: its ticks would decide
// nothing. Whoever looks at it, or calls it, has it make them first, one by one, as if it had been awake. So that this
// is soon done, each makes them at least every kSlept ticks.
// Thread-safe; one thread adds.
class NodeTicks {
 public:
  static constexpr std::uint64_t kSlept = 16;

  void add(const NodeTick& tick) {
    std::lock_guard guard(lock_);
    ticks_[++latest_ % kKept] = tick;
  }
  // Its number, from 1; 0: there was none.
  std::uint64_t latest() const {
    std::lock_guard guard(lock_);
    return latest_;
  }
  // Calls f(tick) for those after number `made`, which becomes the latest.
  template <class F>
  void for_each_after(std::uint64_t& made, F&& f) const {
    for (;;) {
      NodeTick next;
      {
        std::lock_guard guard(lock_);
        if (made >= latest_) return;
        made = std::max(made, latest_ > kKept ? latest_ - kKept : 0) + 1;
        next = ticks_[made % kKept];
      }
      f(next);
    }
  }

 private:
  static constexpr std::uint64_t kKept = 2 * kSlept;

  mutable SpinLock lock_;
  std::uint64_t latest_ = 0;
  std::array<NodeTick, kKept> ticks_{};
};

}  // namespace penstock
