#include "runtime/upstream/upstream_ticker.h"

#include <mutex>
#include <utility>

#include "runtime/upstream/upstream_state.h"

namespace penstock {

void UpstreamAccess::Ticker::list(std::vector<Upstream*> upstreams, Instant now) {
  turns_.reserve(upstreams.size());
  auto awake = std::make_unique<std::atomic<bool>[]>(upstreams.size());
  for (std::size_t i = 0; i < upstreams.size(); ++i) {
    Upstream::State& state = *upstreams[i]->state_;
    state.locked(*upstreams[i], now, [&](auto& effects) { state.enlist(ticks_, awake[i], effects); });
  }
  upstreams_ = std::move(upstreams);
  awake_ = std::move(awake);
}

// Ten times a second little of this is in a cache. While one upstream is looked at, the processor fetches what is told
// of the next ones, step by step, as each step knows where the following one is.
int UpstreamAccess::Ticker::collect(Instant now) {
  const std::uint64_t before = ticks_.latest();
  turns_.clear();
  for (std::size_t i = 0; i < upstreams_.size(); ++i) {
    if (awake_[i].load(std::memory_order_relaxed) || (before + i) % NodeTicks::kSlept == 0) {
      turns_.push_back(upstreams_[i]);
    }
  }
  constexpr std::size_t kAhead = 4;
  int calls = 0;
  const std::size_t count = turns_.size();
  for (std::size_t i = 0; i < count + 4 * kAhead; ++i) {
    if (i < count) __builtin_prefetch(turns_[i]);
    if (const std::size_t at = i - kAhead; at < count) turns_[at]->state_->prefetch();
    if (const std::size_t at = i - 2 * kAhead; at < count) turns_[at]->state_->prefetch_parts(now);
    if (const std::size_t at = i - 3 * kAhead; at < count) turns_[at]->state_->prefetch_aged(now);
    const std::size_t at = i - 4 * kAhead;
    if (at >= count) continue;
    calls += turns_[at]->state_->collect_awake(*turns_[at], before, now);
  }
  return calls;
}

bool UpstreamAccess::Ticker::tick(const NodeTick& tick) {
  ticks_.add(tick);
  const std::uint64_t number = ticks_.latest();
  bool in_trouble = false;
  for (Upstream* upstream : turns_) {
    Upstream::State& state = *upstream->state_;
    const std::string& name = state.name;
    bool wants_test = false, testing = false;
    state.locked(*upstream, tick.tick.now, [&](auto& effects) {
      state.tick(tick, number, calendar_.may_test(name), effects);
      wants_test = state.guard.cause_test().wants_test();
      testing = state.guard.cause_test().testing();
      in_trouble = in_trouble || testing || state.in_trouble();
    });
    if (wants_test || testing) calendar_.ask(name, testing, tick.tick.wall);
  }
  calendar_.resolve();
  return in_trouble;
}

}  // namespace penstock
