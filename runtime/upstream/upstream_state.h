#pragma once

#include <array>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "penstock/decision/call_lane.h"
#include "penstock/decision/upstream_guard.h"
#include "penstock/metrics.h"
#include "penstock/node_decision.h"
#include "penstock/spin_lock.h"
#include "penstock/upstream.h"
#include "runtime/admission/waiting.h"
#include "runtime/telemetry/shards.h"
#include "runtime/upstream/node_ticks.h"
#include "runtime/upstream/upstream_access.h"
#include "runtime/upstream/watching_guard.h"

namespace penstock {

// How calls end, for metrics: the outcomes of CallOutcome in its order, and refused ones.
inline constexpr std::array kUpstreamOutcomes{"ok", "error", "timeout", "cancelled", "rejected"};
inline constexpr std::size_t kRejectedOutcome = 4;

// What one thread does by itself: places that the guard counts as taken, and the calls on them. As a pool's shard it is
// open only while nobody waits, and moreover while the guard is steady and the policy the same.
struct alignas(telemetry::kApart) Upstream::Shard {
  mutable SpinLock lock;
  // Guarded by lock. `open` changes under the upstream's lock only, which is taken first. A closed shard has no places
  // and nothing to tell; it may have calls.
  bool open = false;
  int credit = 0;
  // What the guard has not been told yet, besides what the lane knows.
  decision::Ended ended;
  // Of the policy in force.
  Duration timeout{};
  Duration longest_patience{};
  decision::CallLane lane;
};

struct Upstream::State {
  State(const decision::UpstreamPolicy& given, bool guarded, MetricsRegistry& metrics, UpstreamAccess::Listener told);

  // What happened under the lock and is told after it.
  struct Effects {
    ~Effects();
    decision::Verdicts decided;
    std::vector<decision::CircuitBreaker::Transition> transitions;
    std::vector<NodeDecision> decisions;
  };

  // Runs change(effects) under the lock, then wakes whom it decided, also when it throws, and tells what was decided
  // about the upstream itself.
  template <class Change>
  void locked(const Upstream& upstream, Instant at, Change&& change) {
    Effects told;
    {
      Effects effects;
      std::lock_guard guard(lock);
      if (asleep_) catch_up(effects);
      change(effects);
      settle(effects, at);
      if (asleep_ && !idle(at)) wake();
      told.transitions.swap(effects.transitions);
      told.decisions.swap(effects.decisions);
    }
    if (!told.transitions.empty() || !told.decisions.empty()) tell(upstream, told);
  }

  // Without the lock: begins a call on the calling thread alone, or ends one that was begun so. False: nothing done.
  bool begin_here(Call::State& call, Instant arrived, Instant request_deadline);
  bool end_here(Call::State& call, Instant at);
  // Tells a policy in SHADOW of a call that goes out; without memory for that it is not told.
  void watch(Call::State& call, Instant request_deadline) noexcept;
  // Null: no policy in SHADOW watches it.
  std::shared_ptr<WatchingGuard> watching() const;
  void set_watching(std::shared_ptr<WatchingGuard> guard);
  // Ends any other.
  void end_slowly(Call::State& call, decision::GuardedOutcome outcome, std::optional<Duration> retry_after, Instant at);

  // What follows is called under the lock.

  // Takes in what the shards counted. `close`: also their places, and closes them.
  void sweep(bool close, Instant at, decision::Verdicts& decided);
  // The same, and ages calls.
  void sweep_and_age(Instant at, decision::Verdicts& decided);
  // Lets the calling thread do by itself what follows, if there is place enough for all threads to do so.
  bool open_shard(Instant at);
  // Has the guard judge, after sweep_and_age() of this very moment.
  void tick(const decision::UpstreamGuard::Tick& tick, Effects& effects);
  // From now on it may sleep, with `awake` telling its ticker whether it does, and makes the ticks after the latest.
  // Both live as long as it is ticked.
  void enlist(const NodeTicks& ticks, std::atomic<bool>& awake, Effects& effects);
  // Makes the ticks that it has not made.
  void catch_up(Effects& effects);
  bool behind(std::uint64_t number) const { return made_ < number; }
  // Of one that is awake, its ticker's tick, of that number. If nobody has called it of late it sleeps from then on.
  void tick(const NodeTick& tick, std::uint64_t number, bool may_test, Effects& effects);
  Runtime::UpstreamStats stats(Instant at) const;
  // Much slower than usual, or under test for the cause. Of an upstream that nobody calls nothing is known.
  bool in_trouble() const {
    return guard.cause_test().unusual() || (guard.signals().in_trouble() && guard.in_flight() + guard.waiting() > 0);
  }

  // Without the lock: the first half of its ticker's tick, the one after number `before`. What there is to tell of it
  // is told by the second. Returns the calls that are in flight or wait.
  int collect_awake(const Upstream& upstream, std::uint64_t before, Instant now);
  // For who ticks many: asks the processor for what a tick is going to read, in three steps, each of which reads what
  // the one before asked for. Called without the lock, by the ticker.
  void prefetch() const;
  void prefetch_parts(Instant at) const;
  void prefetch_aged(Instant at) const;

  const bool guarded;
  const std::size_t shard_count;
  const std::unique_ptr<Shard[]> shards;
  Histogram& duration;
  std::array<Counter*, kUpstreamOutcomes.size()> outcomes{};
  Counter& refusals;
  const std::string name;
  const UpstreamAccess::Listener listener;
  // Whether watching() is not null: asked of each call.
  std::atomic<bool> watched{false};

  // Apart from what every call reads.
  alignas(telemetry::kApart) mutable SpinLock lock;
  // Guarded by lock.
  int open_shards = 0;

 private:
  static constexpr std::size_t kWord = 64;
  // Which shards for_each_used() is about, a bit each; changes under the lock.
  std::array<std::atomic<std::uint64_t>, (telemetry::kMostShards + kWord - 1) / kWord> used_{};
  Instant aged_{};
  // Null: it never sleeps. The latest tick that it has made, and who had called it by then.
  const NodeTicks* ticks_ = nullptr;
  std::atomic<bool>* awake_ = nullptr;
  std::uint64_t made_ = 0;
  std::int64_t attempts_ = 0;
  bool asleep_ = false;
  // Of the ticker: calls live long enough to be aged one by one.
  bool ages_ = false;
  // As they were when it was last settled.
  bool obeys_rate_ = false;
  bool squeezed_ = false;
  int places_ = 0;
  Instant squeeze_told_{};

 public:
  // Knows of what the shards do when they were swept.
  decision::UpstreamGuard guard;
  // Of what the guard does not count apart.
  std::array<std::uint64_t, kUpstreamOutcomes.size()> counts{};
  // Of calls that were not ok.
  Duration failed_latency{};
  // No policy that acts names it.
  bool only_watched = false;
  // Begins and ends that took the lock.
  std::uint64_t slow_paths = 0;

 private:
  // Calls f(shard) for each that has been open: before that it has no calls.
  template <class F>
  void for_each_used(F&& f) const {
    for (std::size_t i = 0; i < shard_count; i += kWord) {
      std::uint64_t word = used_[i / kWord].load(std::memory_order_relaxed);
      for (; word != 0; word &= word - 1) f(shards[i + static_cast<std::size_t>(std::countr_zero(word))]);
    }
  }
  // Takes in what an open shard counted; what it has of places beyond `kept` is returned.
  int collect(Shard& shard, int kept, Instant at);
  Shard& mine() const { return shards[telemetry::shard().index]; }
  // Of the node's, this upstream's own.
  decision::UpstreamGuard::Tick own(const NodeTick& tick) const {
    const decision::UpstreamPolicy& policy = guard.policy();
    return tick.of(policy.memory_share, policy.limit.min, calls());
  }
  // In it or waiting for it.
  int calls() const { return guard.in_flight() + guard.waiting(); }
  bool idle(Instant at) const { return open_shards == 0 && guard.idle(at); }
  void wake();
  // Both are part of the end of a call, which cannot fail: what there is no memory for is not told.
  void settle(Effects& effects, Instant at) noexcept;
  void tell(const Upstream& upstream, const Effects& effects) const noexcept;
  void note(Effects& effects, Instant at);

  mutable SpinLock watching_lock_;
  // Guarded by watching_lock_.
  std::shared_ptr<WatchingGuard> watching_;
};

}  // namespace penstock
