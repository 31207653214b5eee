#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include "penstock/decision/admission.h"
#include "penstock/decision/call_lane.h"
#include "penstock/decision/circuit_breaker.h"
#include "penstock/decision/policy.h"
#include "penstock/decision/retry_budget.h"
#include "penstock/metrics.h"
#include "penstock/spin_lock.h"
#include "penstock/upstream.h"
#include "runtime/admission/waiting.h"
#include "runtime/telemetry/shards.h"
#include "runtime/upstream/upstream_access.h"

namespace penstock {

// How calls end, for metrics: the outcomes of CallOutcome in its order, and refused ones.
inline constexpr std::array kUpstreamOutcomes{"ok", "error", "timeout", "cancelled", "rejected"};
inline constexpr std::size_t kRejectedOutcome = 4;

// What one thread does by itself: places that the admission counts as taken, and the calls on them. As a pool's shard
// it is open only while nobody waits, and moreover while the breaker is steady and the policy the same.
struct alignas(telemetry::kApart) Upstream::Shard {
  SpinLock lock;
  // Guarded by lock. `open` changes under the upstream's lock only, which is taken first. A closed shard has no places
  // and nothing to tell; it may have calls.
  bool open = false;
  int credit = 0;
  int in_flight = 0;
  std::uint64_t attempts = 0;
  std::uint64_t ok = 0;
  Duration latency{};
  // What the upstream has not been told yet.
  std::int64_t untold_attempts = 0;
  decision::Ended ended;
  // Of the policy in force.
  Duration timeout{};
  Duration longest_patience{};
  decision::CallLane lane;
};

struct Upstream::State {
  State(const decision::UpstreamPolicy& given, bool guarded, MetricsRegistry& metrics,
        UpstreamAccess::OnTransition on_transition);

  // What happened under the lock and is told after it.
  struct Effects {
    ~Effects() { Waiting::deliver(decided); }
    std::vector<decision::Verdict> decided;
    std::vector<decision::CircuitBreaker::Transition> transitions;
  };

  // Runs change(effects) under the lock, then wakes whom it decided, also when it throws, and reports how the breaker
  // changed.
  template <class Change>
  void locked(const Upstream& upstream, Instant at, Change&& change) {
    std::vector<decision::CircuitBreaker::Transition> transitions;
    {
      Effects effects;
      std::lock_guard guard(lock);
      struct Dequeuing {
        ~Dequeuing() {
          for (const decision::Verdict& verdict : decided) state.queued.erase(static_cast<Waiting*>(verdict.ticket));
        }
        State& state;
        const std::vector<decision::Verdict>& decided;
      } dequeuing{*this, effects.decided};
      change(effects);
      settle(effects, at);
      transitions.swap(effects.transitions);
    }
    for (const auto& transition : transitions) on_transition(upstream, transition);
  }

  // Without the lock: begins a call on the calling thread alone, or ends one that was begun so. False: nothing done.
  bool begin_here(Call::State& call, Instant arrived, Instant request_deadline);
  bool end_here(Call::State& call, Instant at);

  // What follows is called under the lock.

  // Takes in what the shards counted. `close`: also their places, and closes them.
  void sweep(bool close, Instant at, std::vector<decision::Verdict>& decided);
  // Lets the calling thread do by itself what follows, if there is place enough for all threads to do so.
  bool open_shard(Instant at);
  // Asks the breaker. True: go ahead, and `tracked` says whether the breaker knows of the call.
  bool pass_breaker(decision::CircuitBreaker::Call& call, bool& tracked, Duration patience, Instant at);
  // Ends a call that is not ended on its thread alone.
  void end(Call::State& call, CallOutcome outcome, Instant at, Effects& effects);
  // The limit, and the queue before it.
  int limit_in_force() const;
  // A shadow policy ends no call: what would hold without it.
  Duration timeout_in_force() const {
    return shadow ? std::max(policy.timeout, decision::UpstreamPolicy{}.timeout) : policy.timeout;
  }
  void update_limit(Effects& effects, Instant at);
  // Ages calls, and has the breaker judge.
  void tick_breaker(Instant at, double memory_pressure, Effects& effects);

  const std::string name;
  const bool guarded;
  const UpstreamAccess::OnTransition on_transition;
  Histogram& duration;
  std::array<Counter*, kUpstreamOutcomes.size()> outcomes{};
  const std::unique_ptr<Shard[]> shards;

  // Apart from what every call reads.
  alignas(telemetry::kApart) mutable SpinLock lock;
  // Guarded by lock.
  decision::UpstreamPolicy policy;
  bool shadow = false;
  std::optional<int> directive;
  int bulkhead;
  decision::Admission admission;
  decision::QueuePolicy queue;
  decision::CircuitBreaker breaker;
  decision::RetryBudget retries;
  std::unordered_set<Waiting*> queued;
  int open_shards = 0;
  // Of what no shard counted: a call that was begun in a shard may end here, but for in_flight. Probes do not wait for
  // a place under the limit, so that calls in flight may be a few more than the limit.
  int in_flight = 0;
  std::uint64_t attempts = 0;
  std::array<std::uint64_t, kUpstreamOutcomes.size()> counts{};
  Duration latency{};
  // Begins and ends that took the lock.
  std::uint64_t slow_paths = 0;

 private:
  Shard& mine() const { return shards[telemetry::shard().index]; }
  void settle(Effects& effects, Instant at);
};

}  // namespace penstock
