#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "penstock/decision/upstream_guard.h"
#include "penstock/error.h"
#include "penstock/node_decision.h"
#include "penstock/spin_lock.h"

namespace penstock {

// What a policy in SHADOW says of one upstream, beside the policy that acts on it: a guard of its own is told of the
// calls that went out, decides as it would, and refuses nothing. What was refused it does not see, as nobody does: what
// would have come of those calls nobody knows. Thread-safe.
class WatchingGuard {
 public:
  // What it would have done with calls that went out.
  enum class Effect {
    // Refused them: its breaker is not closed.
    breaker,
    // Held them back: as many as its limit were out.
    limit,
    // Ended them: they took longer than its time-out.
    timeout,
    // Not made them once more: its retry budget was spent.
    retry,
  };
  static constexpr std::array kEffects{"breaker", "limit", "timeout", "retry"};

  WatchingGuard(std::string policy, const decision::UpstreamPolicy& upstream);

  // Of one call, which does not outlive the guard.
  using Call = decision::UpstreamGuard::Call;
  // Of a call that goes out now, and may take until its request's deadline. False: it is not counted, and has no end.
  bool begin(Call& call, Instant request_deadline, Instant now);
  void end(Call& call, decision::GuardedOutcome outcome, std::optional<Duration> retry_after, Instant now);
  // Of a call that is made once more.
  void retry(Instant now);
  void retry_succeeded(Instant now);

  void set_policy(std::string policy, const decision::UpstreamPolicy& upstream, Instant now);
  void expect(Duration latency);
  // `tick` of the upstream itself, but with a bulkhead by this policy's own share of the memory. `tests`: nobody tests
  // for the cause of slowness, so that this may look for reasons to.
  std::vector<NodeDecision> tick(decision::UpstreamGuard::Tick tick, bool tests);

  struct Stats {
    int limit;
    int min;
    double memory_share;
    int calls;
    decision::BreakerState breaker;
    std::array<std::uint64_t, kEffects.size()> effects;
  };
  Stats stats() const;
  std::vector<std::string> explain(Instant now) const;

 private:
  void count(Effect effect) { ++effects_[static_cast<std::size_t>(effect)]; }

  mutable SpinLock lock_;
  // Guarded by lock_.
  std::string policy_;
  decision::UpstreamGuard guard_;
  std::array<std::uint64_t, kEffects.size()> effects_{};
  bool squeezed_ = false;
  Instant squeeze_told_{};
};

}  // namespace penstock
