#include "penstock/decision/retry_budget.h"
#include "penstock/decision/prefetch.h"

namespace penstock::decision {
namespace {

// Retries that are allowed in any ten seconds whatever the traffic. Finagle's default is ten a second; here a retry is
// dearer, because the upstreams that matter are the slow ones.
constexpr double kFloorPerSecond = 1;

std::int64_t second_of(Instant now) { return std::chrono::floor<std::chrono::seconds>(now.time_since_epoch()).count(); }

}  // namespace

RetryBudget::RetryBudget(double ratio) : ratio_(ratio) {}

void RetryBudget::set_ratio(double ratio) { ratio_ = ratio; }

RetryBudget::Slot& RetryBudget::slot(Instant now) {
  const std::int64_t second = second_of(now);
  Slot& slot = slots_[static_cast<std::size_t>(((second % kSlots) + kSlots) % kSlots)];
  if (slot.second != second) slot = Slot{.second = second};
  return slot;
}

void RetryBudget::call(Instant now, std::int64_t calls) { slot(now).calls += calls; }

void RetryBudget::succeeded(Instant now) { ++slot(now).succeeded; }

bool RetryBudget::try_retry(Instant now, bool well) {
  if (ratio_ <= 0) return false;
  const std::int64_t second = second_of(now);
  std::int64_t calls = 0;
  std::int64_t retries = 0;
  std::int64_t succeeded = 0;
  for (const Slot& slot : slots_) {
    if (slot.second > second - kSlots && slot.second <= second) {
      calls += slot.calls;
      retries += slot.retries;
      succeeded += slot.succeeded;
    }
  }
  const double earned = well ? kEarned * static_cast<double>(succeeded) : 0;
  const double allowed = ratio_ * static_cast<double>(calls) + kFloorPerSecond * kSlots + earned;
  if (static_cast<double>(retries + 1) > allowed) return false;
  ++slot(now).retries;
  return true;
}

}  // namespace penstock::decision
