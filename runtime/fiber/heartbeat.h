#pragma once

#include <atomic>
#include <cstdint>

namespace penstock::fiber {

struct Properties;

// What a scheduler thread shows of itself to other threads. One writer, relaxed: each value is right by itself, and no
// two belong to the same moment for certain.
struct alignas(64) Heartbeat {
  // Grows with every switch and every task begun.
  std::atomic<std::uint64_t> switches{0};
  // Since when `running` runs, in nanoseconds of the steady clock.
  std::atomic<std::int64_t> since{0};
  // Null while the thread sleeps for events. Only a signal handler on that thread may look into it.
  std::atomic<const Properties*> running{nullptr};

  // Fibers between start and end.
  std::atomic<std::uint64_t> fibers{0};
  // Tasks that were refused because there was no memory for a stack.
  std::atomic<std::uint64_t> refused{0};

  static void add(std::atomic<std::uint64_t>& counter, std::uint64_t n,
                  std::memory_order order = std::memory_order_relaxed) noexcept {
    counter.store(counter.load(std::memory_order_relaxed) + n, order);
  }
};

}  // namespace penstock::fiber
