#include "runtime/upstream/watching_guard.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <limits>
#include <mutex>
#include <utility>

#include "runtime/upstream/upstream_decisions.h"

namespace penstock {
namespace {

constexpr auto kTellBulkheadEvery = std::chrono::seconds(5);

}  // namespace

WatchingGuard::WatchingGuard(std::string policy, const decision::UpstreamPolicy& upstream)
    : policy_(std::move(policy)), guard_(upstream, true, true, std::hash<std::string>()(upstream.name)) {}

bool WatchingGuard::begin(Call& call, Instant request_deadline, Instant now) {
  std::lock_guard guard(lock_);
  const bool full = guard_.in_flight() >= guard_.limit();
  decision::Verdicts decided;
  if (guard_.offer(call, request_deadline, now, decided).offer != decision::UpstreamGuard::Offer::go) return false;
  if (!call.tracked) {
    count(Effect::breaker);
  } else if (full && call.placed) {
    count(Effect::limit);
  }
  return true;
}

void WatchingGuard::end(Call& call, decision::GuardedOutcome outcome, std::optional<Duration> retry_after,
                        Instant now) {
  using decision::GuardedOutcome;
  std::lock_guard guard(lock_);
  // It may have begun under another time-out, and no call of a guard that refuses nothing has one.
  if (outcome != GuardedOutcome::cancelled && now - call.started > guard_.policy().timeout) {
    if (outcome != GuardedOutcome::timeout) count(Effect::timeout);
    outcome = GuardedOutcome::timeout;
  }
  decision::Verdicts decided;
  guard_.end(call, outcome, retry_after, now, decided);
}

void WatchingGuard::retry(Instant now) {
  std::lock_guard guard(lock_);
  if (!guard_.try_retry(now)) count(Effect::retry);
}

void WatchingGuard::retry_succeeded(Instant now) {
  std::lock_guard guard(lock_);
  guard_.retry_succeeded(now);
}

void WatchingGuard::set_policy(std::string policy, const decision::UpstreamPolicy& upstream, Instant now) {
  std::lock_guard guard(lock_);
  policy_ = std::move(policy);
  decision::Verdicts decided;
  guard_.set_policy(upstream, true, now, decided);
}

void WatchingGuard::expect(Duration latency) {
  std::lock_guard guard(lock_);
  guard_.expect(latency);
}

std::vector<NodeDecision> WatchingGuard::tick(decision::UpstreamGuard::Tick tick, bool tests) {
  std::lock_guard guard(lock_);
  decision::Verdicts decided;
  // Who is led does not test by itself.
  if (guard_.fleet_leads() == tests) guard_.set_directive(std::nullopt, tick.now, decided, false, !tests);
  guard_.tick(tick, decided);
  std::vector<NodeDecision> decisions;
  const std::string& name = guard_.policy().name;
  while (const auto transition = guard_.take_transition()) {
    decisions.push_back(breaker_decision(name, *transition, true));
  }
  while (const auto decision = guard_.take_decision()) {
    // That the breaker ended what nobody had begun is said by the breaker.
    if (tests) decisions.push_back(cause_decision(name, *decision, true));
  }
  if (const bool squeezed = guard_.bound_by() == "bulkhead";
      squeezed != squeezed_ && tick.now - squeeze_told_ >= kTellBulkheadEvery) {
    squeezed_ = squeezed;
    squeeze_told_ = tick.now;
    decisions.push_back(bulkhead_decision(name, squeezed, guard_.limit(), true));
  }
  for (NodeDecision& decision : decisions) decision.policy = policy_;
  return decisions;
}

WatchingGuard::Stats WatchingGuard::stats() const {
  std::lock_guard guard(lock_);
  const decision::UpstreamPolicy& policy = guard_.policy();
  return {.limit = guard_.limit(),
          .min = policy.limit.min,
          .memory_share = policy.memory_share,
          .calls = guard_.in_flight(),
          .breaker = guard_.breaker().state(),
          .effects = effects_};
}

std::vector<std::string> WatchingGuard::explain(Instant now) const {
  std::lock_guard guard(lock_);
  std::vector<std::string> lines = guard_.explain(now);
  for (std::string& line : lines) line = "in SHADOW, " + policy_ + ": " + line;
  return lines;
}

}  // namespace penstock
