#pragma once

#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>

namespace penstock {

// For critical sections of well under a microsecond that never suspend. The runtime's own locks are not pthread
// mutexes, because those may be interposed and suspend the fiber that waits.
class SpinLock {
 public:
  void lock() noexcept {
    for (int spins = 0; locked_.exchange(true, std::memory_order_acquire);) {
      while (locked_.load(std::memory_order_relaxed)) {
        if (++spins < 200) {
          __builtin_ia32_pause();
        } else {
          // Its holder was preempted.
          // (Not sched_yield(), which may be interposed as well.)
          ::syscall(SYS_sched_yield);
        }
      }
    }
  }
  bool try_lock() noexcept { return !locked_.exchange(true, std::memory_order_acquire); }
  void unlock() noexcept { locked_.store(false, std::memory_order_release); }

 private:
  std::atomic<bool> locked_{false};
};

}  // namespace penstock
