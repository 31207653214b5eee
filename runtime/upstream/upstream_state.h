#pragma once

#include <algorithm>
#include <array>
#include <mutex>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include "penstock/decision/admission.h"
#include "penstock/decision/circuit_breaker.h"
#include "penstock/decision/policy.h"
#include "penstock/decision/retry_budget.h"
#include "penstock/metrics.h"
#include "penstock/upstream.h"
#include "penstock/spin_lock.h"
#include "runtime/admission/waiting.h"
#include "runtime/upstream/upstream_access.h"

namespace penstock {

// How calls end, for metrics: the outcomes of CallOutcome in its order, and refused ones.
inline constexpr std::array kUpstreamOutcomes{"ok", "error", "timeout", "cancelled", "rejected"};
inline constexpr std::size_t kRejectedOutcome = 4;

struct Upstream::State {
  State(const decision::UpstreamPolicy& given, bool guarded, MetricsRegistry& metrics,
        UpstreamAccess::OnTransition on_transition);

  // What happened under the lock and is told after it.
  struct Effects {
    std::vector<decision::Verdict> decided;
    std::vector<decision::CircuitBreaker::Transition> transitions;
  };

  // Runs change(effects) under the lock, then wakes whom it decided and reports how the breaker changed.
  template <class Change>
  void locked(const Upstream& upstream, Change&& change) {
    Effects effects;
    {
      std::lock_guard guard(lock);
      change(effects);
      settle(effects);
    }
    Waiting::deliver(effects.decided);
    for (const auto& transition : effects.transitions) on_transition(upstream, transition);
  }

  // Asks the breaker. True: go ahead, and `tracked` says whether the breaker knows of the call.
  bool pass_breaker(decision::CircuitBreaker::Call& call, bool& tracked, Duration patience, Instant at);
  // The limit, and the queue before it.
  int limit_in_force() const;
  // A shadow policy ends no call: what would hold without it.
  Duration timeout_in_force() const {
    return shadow ? std::max(policy.timeout, decision::UpstreamPolicy{}.timeout) : policy.timeout;
  }
  void update_limit(Effects& effects, Instant at);
  void end(CallOutcome outcome, Duration took);

  const std::string name;
  const bool guarded;
  const UpstreamAccess::OnTransition on_transition;
  Histogram& duration;
  std::array<Counter*, kUpstreamOutcomes.size()> outcomes{};

  mutable SpinLock lock;
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
  // Calls let through; probes do not wait for a place under the limit, so it may be a few more than the limit.
  int in_flight = 0;
  std::uint64_t attempts = 0;
  std::array<std::uint64_t, kUpstreamOutcomes.size()> counts{};
  Duration latency{};

 private:
  void settle(Effects& effects);
};

}  // namespace penstock
