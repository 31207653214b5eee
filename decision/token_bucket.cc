#include "penstock/decision/token_bucket.h"

#include <algorithm>
#include "penstock/decision/prefetch.h"

namespace penstock::decision {
namespace {

using namespace std::chrono_literals;

constexpr Duration kAdjust = 500ms;
constexpr double kTolerated = 0.02;
constexpr double kBelow = 0.95;
constexpr double kAbove = 1.05;
// Growth grows while nothing is refused.
constexpr double kFaster = 1.1;
constexpr double kFastest = 1.5;
// At most so far down at a time: half a second of refusals may be the end of a longer period.
constexpr double kHalf = 0.5;
constexpr double kLeastRate = 1;
constexpr double kBurst = 0.1;
constexpr double kMost = 0.5;
constexpr Duration kLongestPause = 60s;

}  // namespace

TokenBucket::Slot& TokenBucket::slot(Instant now) {
  const std::int64_t n = number(now);
  Slot& slot = slots_[index(now)];
  if (slot.number != n) slot = Slot{.number = n};
  return slot;
}

TokenBucket::Slot TokenBucket::sum(Instant now, int slots) const {
  const std::int64_t n = number(now);
  Slot total;
  for (const Slot& slot : slots_) {
    if (slot.number <= n - slots || slot.number > n) continue;
    total.accepted += slot.accepted;
    total.refused += slot.refused;
  }
  return total;
}

double TokenBucket::refused_share(Instant now) const {
  const Slot total = sum(now, kSlots);
  const auto all = static_cast<double>(total.accepted + total.refused);
  return all > 0 ? static_cast<double>(total.refused) / all : 0;
}

bool TokenBucket::take(Instant now) {
  if (!rate_) return true;
  if (now < paused_until_) {
    quiet_since_ = now;
    return false;
  }
  tokens_ = std::min(std::max(1.0, *rate_ * kBurst), tokens_ + *rate_ * seconds(now - filled_));
  filled_ = now;
  if (tokens_ < 1) {
    quiet_since_ = now;
    return false;
  }
  tokens_ -= 1;
  ++taken_;
  return true;
}

Duration TokenBucket::wait(Instant now) const {
  if (!rate_) return Duration::zero();
  const Duration paused = std::max(paused_until_ - now, Duration::zero());
  const double missing = 1 - tokens_ - *rate_ * seconds(now - filled_);
  return std::max(paused, missing > 0 ? from_seconds(missing / *rate_) : Duration::zero());
}

void TokenBucket::accepted(Instant now, std::int64_t calls) {
  if (first_ == Instant{}) first_ = now;
  slot(now).accepted += calls;
  accepted_ += calls;
}

void TokenBucket::refused(Instant now, std::optional<Duration> retry_after) {
  ++slot(now).refused;
  ++refused_;
  quiet_since_ = now;
  if (retry_after) retry_at_ = std::max(retry_at_, now + std::min(*retry_after, kLongestPause));
}

void TokenBucket::tick(Instant now, std::int64_t pending) {
  if (!rate_) {
    if (now - quiet_since_ > kFirst) return;
    const Slot second = sum(now, kSlots);
    if (second.refused < kFewest || refused_share(now) < kShare) return;
    // Of what the window has seen: a service that has just started has not called for a second.
    const double seen = std::clamp(seconds(now - first_), 0.1, 1.0);
    rate_ = std::max(kLeastRate, kBelow * static_cast<double>(second.accepted + pending) / seen);
    growth_ = kAbove;
    tokens_ = 0;
    filled_ = now;
    restart(now);
    if (refused_share(now) > kMost) paused_until_ = retry_at_;
    return;
  }
  if (now < paused_until_) {
    // What was refused before the pause has been obeyed.
    restart(now);
    return;
  }
  if (now - quiet_since_ >= kQuiet) {
    rate_.reset();
    return;
  }
  if (now - adjusted_ < kAdjust) return;
  // Refusals come at once, answers when they are ready: what went out and was not refused is accepted.
  const auto went_well = std::max(accepted_, taken_ - refused_);
  const double accepted = static_cast<double>(went_well) / seconds(now - adjusted_);
  const auto all = static_cast<double>(accepted_ + refused_);
  const double share = all > 0 ? static_cast<double>(refused_) / all : 0;
  if (share > kMost && refused_ >= kFewest && retry_at_ > now) paused_until_ = retry_at_;
  if (share > kTolerated) {
    rate_ = std::max(kLeastRate, std::min(*rate_, kBelow * std::max(accepted, kHalf * *rate_)));
    growth_ = kAbove;
  } else {
    rate_ = growth_ * *rate_;
    growth_ = std::min(growth_ * kFaster, kFastest);
  }
  restart(now);
}

void TokenBucket::restart(Instant now) {
  adjusted_ = now;
  accepted_ = refused_ = taken_ = 0;
}

}  // namespace penstock::decision
