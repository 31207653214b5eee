#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>

#include "controller/clock.h"

namespace penstock::controller {

// Time that passes when the test says so; chance that counts.
class ManualClock final : public Clock {
 public:
  decision::Instant now() const override { return decision::Instant(elapsed_.load()); }
  std::chrono::system_clock::time_point wall() const override {
    return std::chrono::system_clock::time_point(
        std::chrono::duration_cast<std::chrono::system_clock::duration>(kStart + elapsed_.load()));
  }
  std::uint64_t random() override { return ++random_; }
  void advance(decision::Duration by) { elapsed_ = elapsed_.load() + by; }

 private:
  // 2026-01-01T00:00:00Z
  static constexpr std::chrono::seconds kStart{1767225600};
  std::atomic<decision::Duration> elapsed_{std::chrono::seconds(1000)};
  std::atomic<std::uint64_t> random_{0};
};

}  // namespace penstock::controller
