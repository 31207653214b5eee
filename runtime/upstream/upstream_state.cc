#include "runtime/upstream/upstream_state.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <limits>
#include <utility>

#include "runtime/upstream/upstream_call.h"

namespace penstock {

using decision::BreakerState;

namespace {

// Places that a shard is given at a time.
constexpr int kBatch = 32;
// A shard has its ticker tell the breaker of its calls; should none come, its next call does.
constexpr auto kLongestUntold = std::chrono::milliseconds(200);

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
      shards(new Shard[telemetry::shard_count()]),
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
  if (limit == admission.limit()) return;
  // What is free in a shard would be in use above a lower limit.
  if (limit < admission.limit()) sweep(true, at, effects.decided);
  admission.set_limit(limit, at, effects.decided);
}

bool Upstream::State::pass_breaker(decision::CircuitBreaker::Call& call, bool& tracked, Duration patience, Instant at) {
  tracked = breaker.begin(call, patience, at);
  return tracked || shadow;
}

bool Upstream::State::begin_here(Call::State& call, Instant arrived, Instant request_deadline) {
  Shard& shard = mine();
  std::lock_guard guard(shard.lock);
  if (shard.credit == 0 || request_deadline <= arrived || shard.lane.untold_for(arrived) > kLongestUntold) return false;
  --shard.credit;
  ++shard.in_flight;
  ++shard.attempts;
  ++shard.untold_attempts;
  call.shard = &shard;
  call.tracked = call.placed = true;
  call.started = arrived;
  call.deadline = std::min(request_deadline, arrived + shard.timeout);
  shard.lane.begin(call.call, std::min(call.deadline - arrived, shard.longest_patience), arrived);
  return true;
}

bool Upstream::State::end_here(Call::State& call, Instant at) {
  Shard& shard = *call.shard;
  const Duration took = at - call.started;
  std::lock_guard guard(shard.lock);
  if (!shard.open || !shard.lane.end(call.call, at)) return false;
  ++shard.credit;
  --shard.in_flight;
  ++shard.ok;
  shard.latency += took;
  shard.ended.add(took);
  return true;
}

void Upstream::State::end(Call::State& call, CallOutcome outcome, Instant at, Effects& effects) {
  const Duration took = at - call.started;
  ++counts[static_cast<std::size_t>(outcome)];
  latency += took;
  // The breaker judges by what came before.
  sweep(false, at, effects.decided);
  if (call.shard != nullptr) {
    std::lock_guard guard(call.shard->lock);
    --call.shard->in_flight;
    breaker.end(call.call, outcome, at);
  } else {
    --in_flight;
    if (call.tracked) breaker.end(call.call, outcome, at);
  }
  if (call.placed) admission.release(took, at, effects.decided);
}

void Upstream::State::sweep(bool close, Instant at, std::vector<decision::Verdict>& decided) {
  if (open_shards == 0) return;
  int places = 0;
  std::int64_t attempts_told = 0;
  for (std::size_t i = 0; i < telemetry::shard_count(); ++i) {
    Shard& shard = shards[i];
    if (!shard.open) continue;
    std::lock_guard guard(shard.lock);
    breaker.collect(shard.lane, at);
    admission.tell(std::exchange(shard.ended, {}), at);
    attempts_told += std::exchange(shard.untold_attempts, 0);
    const int kept = close ? 0 : std::min(shard.credit, 2 * kBatch);
    places += shard.credit - kept;
    shard.credit = kept;
    shard.open = !close;
  }
  if (close) open_shards = 0;
  if (attempts_told != 0) retries.call(at, attempts_told);
  if (places != 0) admission.give_back(places, at, decided);
}

bool Upstream::State::open_shard(Instant at) {
  if (admission.queue_length() != 0 || !breaker.steady(at)) return false;
  const int free = admission.limit() - admission.in_flight();
  const int places = std::min(kBatch, free / static_cast<int>(2 * telemetry::shard_count()));
  if (places <= 0) return false;
  Shard& shard = mine();
  std::lock_guard guard(shard.lock);
  shard.credit += admission.reserve(places);
  if (shard.open) return true;
  shard.open = true;
  ++open_shards;
  shard.timeout = timeout_in_force();
  shard.longest_patience = policy.timeout;
  breaker.entrust(shard.lane);
  return true;
}

void Upstream::State::tick_breaker(Instant at, double memory_pressure, Effects& effects) {
  sweep(false, at, effects.decided);
  for (std::size_t i = 0; i < telemetry::shard_count(); ++i) {
    std::lock_guard guard(shards[i].lock);
    breaker.age(shards[i].lane, at);
  }
  breaker.tick(at, memory_pressure);
}

void Upstream::State::settle(Effects& effects, Instant at) {
  while (auto transition = breaker.take_transition()) effects.transitions.push_back(std::move(*transition));
  if (!breaker.steady(at)) sweep(true, at, effects.decided);
  for (const decision::Verdict& verdict : effects.decided) queued.erase(static_cast<Waiting*>(verdict.ticket));
  if (queued.empty() || shadow || breaker.state() != BreakerState::open) return;
  // What waits for a place would only be refused when it got one.
  effects.decided.reserve(effects.decided.size() + queued.size());
  for (Waiting* waiting : queued) {
    if (admission.withdraw(*waiting)) effects.decided.push_back({waiting, RejectReason::breaker});
  }
  queued.clear();
}

}  // namespace penstock
