#pragma once

#include <cstddef>

namespace penstock::interpose {

// Memory for as many threads as a process may have, at addresses of its own: whether an address is a thread's is a
// comparison, also for one that has long ended.
class ThreadSlots {
 public:
  static constexpr std::size_t kBytes = 512;
  static constexpr std::size_t kMost = 131'072;

  // Null: all are taken, or there is no memory.
  static void* take() noexcept;
  static void give_back(void* slot) noexcept;
  static bool contains(const void* address) noexcept;
};

}  // namespace penstock::interpose
