#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

#include "penstock/error.h"

namespace penstock::http {

// Lets one log line a second through, of what may happen often. Thread-safe.
class OnceASecond {
 public:
  bool may(Instant now) noexcept {
    const std::int64_t second = std::chrono::duration_cast<std::chrono::seconds>(now.time_since_epoch()).count();
    return logged_.load(std::memory_order_relaxed) != second &&
           logged_.exchange(second, std::memory_order_relaxed) != second;
  }

 private:
  std::atomic<std::int64_t> logged_{-1};
};

}  // namespace penstock::http
