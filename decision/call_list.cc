#include "penstock/decision/call_list.h"

#include <new>
#include "penstock/decision/prefetch.h"

namespace penstock::decision {
namespace {

// Calls that have ended are dropped when they are more than those that have not, and so many.
constexpr std::uint32_t kWorthDropping = 64;
// Room that is kept for later ones when none is left.
constexpr std::size_t kKept = 1024;

}  // namespace

Instant CallList::oldest() const {
  for (const Aged& aged : aged_) {
    if (aged.call) return aged.started;
  }
  return first_ ? first_started_ : Instant::max();
}

// Without memory they are taken in the next time.
void CallList::take_in_fresh() {
  if (aged_.size() > 2 * alive_ + kWorthDropping) drop_ended();
  while (first_) {
    Call& call = *first_;
    try {
      aged_.push_back({&call, call.started, call.era});
    } catch (const std::bad_alloc&) {
      return;
    }
    ++alive_;
    call.slot = static_cast<std::uint32_t>(aged_.size() - 1);
    set_first(call.next);
    if (first_) first_->previous = nullptr;
    call.next = nullptr;
  }
  last_ = nullptr;
}

void CallList::drop_ended() {
  if (alive_ == 0 && aged_.capacity() > kKept) std::vector<Aged>().swap(aged_);
  std::uint32_t kept = 0;
  std::array<std::uint32_t, kBins> cursors{};
  std::uint32_t slow_cursor = 0;
  for (std::uint32_t i = 0; i < aged_.size(); ++i) {
    if (!aged_[i].call) continue;
    for (std::size_t k = 1; k < kBins; ++k) cursors[k] += cursors_[k] > i ? 1 : 0;
    slow_cursor += slow_cursor_ > i ? 1 : 0;
    aged_[i].call->slot = kept;
    aged_[kept++] = aged_[i];
  }
  aged_.resize(kept);
  cursors_ = cursors;
  slow_cursor_ = slow_cursor;
}

}  // namespace penstock::decision
