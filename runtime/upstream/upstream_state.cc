#include "runtime/upstream/upstream_state.h"

#include <algorithm>
#include <functional>
#include <limits>
#include <utility>

namespace penstock {

using decision::BreakerState;

namespace {

constexpr int kUnbounded = std::numeric_limits<int>::max();
// Longest queue that a policy may ask for.
constexpr int kMaxQueue = 1'000'000;

// Calls wait for as long as they may be useful; they are not shed for having waited. Under a directive the limit is
// tight on purpose and the queue may stand: then the newest, who are sure to be still there, go first.
decision::QueuePolicy queue_policy(const decision::UpstreamPolicy& policy, bool directed, int limit, int bulkhead) {
  decision::QueuePolicy queue;
  queue.discipline = directed ? decision::QueueDiscipline::newest_first : decision::QueueDiscipline::fifo;
  queue.max = std::clamp(bulkhead - limit, 0, kMaxQueue);
  queue.max_wait = policy.timeout;
  queue.target = std::min(queue.target, queue.max_wait);
  return queue;
}

decision::BreakerPolicy breaker_policy(const decision::UpstreamPolicy& policy, bool guarded) {
  if (guarded) return policy.breaker;
  decision::BreakerPolicy never;
  never.usefulness = false;
  return never;
}

}  // namespace

Upstream::State::State(const decision::UpstreamPolicy& given, bool guarded, MetricsRegistry& metrics,
                       UpstreamAccess::OnTransition on_transition)
    : name(given.name),
      guarded(guarded),
      on_transition(std::move(on_transition)),
      duration(metrics.histogram("penstock_upstream_request_duration_seconds",
                                 "Time of calls that were let through, however they ended.", {{"upstream", name}})),
      policy(given),
      bulkhead(kUnbounded),
      admission(queue_policy(given, false, limit_in_force(), kUnbounded), limit_in_force()),
      queue(queue_policy(given, false, limit_in_force(), kUnbounded)),
      breaker(breaker_policy(given, guarded), given.timeout, std::hash<std::string>()(given.name)),
      retries(given.retry_budget) {
  for (std::size_t i = 0; i < outcomes.size(); ++i) {
    outcomes[i] = &metrics.counter("penstock_upstream_requests_total", "Calls to third parties by how they ended.",
                                   {{"upstream", name}, {"outcome", kUpstreamOutcomes[i]}});
  }
}

int Upstream::State::limit_in_force() const {
  if (!guarded) return kUnbounded;
  if (policy.limit.mode == decision::LimitMode::fixed) return policy.limit.max;
  const int assigned = directive ? std::max(*directive, policy.limit.min) : policy.limit.max;
  return std::min({policy.limit.max, bulkhead, assigned});
}

void Upstream::State::update_limit(Effects& effects, Instant at) {
  const int limit = shadow ? kUnbounded : limit_in_force();
  const decision::QueuePolicy wanted = queue_policy(policy, directive.has_value(), limit, bulkhead);
  if (wanted != queue) {
    queue = wanted;
    admission.set_queue(queue, at, effects.decided);
  }
  if (limit != admission.limit()) admission.set_limit(limit, at, effects.decided);
}

bool Upstream::State::pass_breaker(decision::CircuitBreaker::Call& call, bool& tracked, Duration patience, Instant at) {
  tracked = breaker.begin(call, patience, at);
  return tracked || shadow;
}

void Upstream::State::end(CallOutcome outcome, Duration took) {
  --in_flight;
  ++counts[static_cast<std::size_t>(outcome)];
  latency += took;
}

void Upstream::State::settle(Effects& effects) {
  while (auto transition = breaker.take_transition()) effects.transitions.push_back(std::move(*transition));
  for (const decision::Verdict& verdict : effects.decided) queued.erase(static_cast<Waiting*>(verdict.ticket));
  if (queued.empty() || shadow || breaker.state() != BreakerState::open) return;
  // What waits for a place would only be refused when it got one.
  for (Waiting* waiting : queued) {
    if (admission.withdraw(*waiting)) effects.decided.push_back({waiting, RejectReason::breaker});
  }
  queued.clear();
}

}  // namespace penstock
