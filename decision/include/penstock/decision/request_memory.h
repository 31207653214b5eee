#pragma once

#include <cstdint>
#include <optional>

namespace penstock::decision {

// Estimate of the resident memory that one request in flight uses.
//
// base = resident memory when at most kIdle requests were in flight (its smallest value so far). Whenever the number in
// flight is at or near its high-water mark, and at least kIdle above the base, a sample is (resident - base) / (in
// flight - base in flight); away from the mark, memory that the allocator and the stack cache keep would be charged to
// too few requests. Samples move the estimate up by half of the difference and down by a fifth of it, never below
// kFloor.
class RequestMemory {
 public:
  static constexpr std::int64_t kAssumed = 32 * 1024;
  static constexpr std::int64_t kFloor = 16 * 1024;
  static constexpr int kIdle = 64;

  void sample(std::int64_t resident_bytes, int in_flight);
  // kAssumed until it was measured.
  std::int64_t bytes_per_request() const { return estimate_; }
  // In use when next to nothing is in flight; 0 when not known.
  std::int64_t base_bytes() const { return base_ ? base_->resident : 0; }

 private:
  struct Base {
    std::int64_t resident;
    int in_flight;
  };
  std::optional<Base> base_;
  int high_water_ = 0;
  std::int64_t estimate_ = kAssumed;
};

}  // namespace penstock::decision
