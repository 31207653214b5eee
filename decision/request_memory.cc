#include "penstock/decision/request_memory.h"

#include <algorithm>

namespace penstock::decision {
namespace {

// Parts of the difference that the estimate moves by: one.
constexpr std::int64_t kQuickly = 2;
constexpr std::int64_t kSlowly = 5;

}  // namespace

void RequestMemory::sample(std::int64_t resident_bytes, int in_flight) {
  if (in_flight <= kIdle && (!base_ || resident_bytes < base_->resident)) {
    base_ = Base{resident_bytes, in_flight};
  }
  high_water_ = std::max(high_water_, in_flight);
  if (!base_ || in_flight < base_->in_flight + kIdle || in_flight < high_water_ * 9 / 10) return;
  const std::int64_t measured = (resident_bytes - base_->resident) / (in_flight - base_->in_flight);
  // Too little lets too many in at once, too much only some fewer for a while.
  const std::int64_t part = measured > estimate_ ? kQuickly : kSlowly;
  estimate_ = std::max(kFloor, estimate_ + (measured - estimate_) / part);
}

}  // namespace penstock::decision
