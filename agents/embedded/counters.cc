#include "agents/embedded/counters.h"

#include <google/protobuf/util/time_util.h>

#include <string>

namespace penstock::agent {

namespace {

using google::protobuf::util::TimeUtil;

void fill(v1::PoolCounters& out, const Runtime::PoolStats& pool) {
  out.set_pool(pool.name);
  out.set_limit(pool.limit);
  out.set_in_flight(pool.in_flight);
  out.set_queue_length(pool.queue_length);
  out.set_admitted(pool.admitted);
  out.set_completed(pool.completed);
  *out.mutable_busy() = TimeUtil::NanosecondsToDuration(pool.busy.count());
  for (int i = 0; i < decision::kRejectReasons; ++i) {
    if (pool.rejected[i] == 0) continue;
    (*out.mutable_rejected())[std::string(to_string(static_cast<RejectReason>(i)))] = pool.rejected[i];
  }
}

void fill(v1::UpstreamCounters& out, const Runtime::UpstreamStats& upstream) {
  out.set_upstream(upstream.name);
  out.set_limit(upstream.limit);
  out.set_in_flight(upstream.in_flight);
  out.set_waiting(upstream.waiting);
  out.set_attempts(upstream.attempts);
  out.set_ok(upstream.ok);
  out.set_errors(upstream.errors);
  out.set_timeouts(upstream.timeouts);
  out.set_cancelled(upstream.cancelled);
  out.set_rejected(upstream.rejected);
  *out.mutable_latency() = TimeUtil::NanosecondsToDuration(upstream.latency.count());
  *out.mutable_oldest() = TimeUtil::NanosecondsToDuration(upstream.oldest.count());
  out.set_breaker(to_proto(upstream.breaker));
  if (upstream.usefulness) out.set_usefulness(*upstream.usefulness);
  out.set_refused(upstream.refused);
  *out.mutable_ok_latency() = TimeUtil::NanosecondsToDuration(upstream.ok_latency.count());
  *out.mutable_mean_age() = TimeUtil::NanosecondsToDuration(upstream.mean_age.count());
  *out.mutable_patience() = TimeUtil::NanosecondsToDuration(upstream.patience.count());
  out.set_refusing(upstream.rate.has_value());
  out.set_in_trouble(upstream.in_trouble);
  if (upstream.ok > 0) {
    *out.mutable_usual_latency() = TimeUtil::NanosecondsToDuration(upstream.usual_latency.count());
    *out.mutable_current_latency() = TimeUtil::NanosecondsToDuration(upstream.current_latency.count());
  }
  if (upstream.expected_latency > Duration::zero()) {
    *out.mutable_expected_latency() = TimeUtil::NanosecondsToDuration(upstream.expected_latency.count());
  }
  out.set_cause_state(std::string(to_string(upstream.cause_state)));
  out.set_cause_verdict(std::string(to_string(upstream.cause)));
  out.set_bound_by(std::string(upstream.bound_by));
}

void fill(v1::NodeDecision& out, const NodeDecision& decision) {
  out.set_kind(decision.kind);
  out.set_name(decision.name);
  out.set_action(decision.action);
  out.set_reason(decision.reason);
  out.set_verdict(decision.verdict);
  if (decision.confidence) out.set_confidence(*decision.confidence);
  out.set_message(decision.message);
  out.set_formula(decision.formula);
  out.set_would_change(decision.would_change);
  auto& evidence = *out.mutable_evidence()->mutable_fields();
  for (const auto& [name, value] : decision.evidence) evidence[name].set_number_value(value);
  const auto since_epoch = std::chrono::duration_cast<std::chrono::nanoseconds>(decision.time.time_since_epoch());
  *out.mutable_time() = TimeUtil::NanosecondsToTimestamp(since_epoch.count());
  out.set_shadow(decision.shadow);
  out.set_policy(decision.policy);
}

void fill(v1::BreakerTransition& out, const Runtime::BreakerEvent& event) {
  out.set_upstream(event.upstream);
  out.set_from(to_proto(event.transition.from));
  out.set_to(to_proto(event.transition.to));
  out.set_reason(event.transition.reason + ": " + event.transition.message);
  const auto since_epoch = std::chrono::duration_cast<std::chrono::nanoseconds>(event.time.time_since_epoch());
  *out.mutable_time() = TimeUtil::NanosecondsToTimestamp(since_epoch.count());
}

}  // namespace

v1::BreakerState to_proto(decision::BreakerState state) {
  switch (state) {
    case decision::BreakerState::closed:
      return v1::BREAKER_STATE_CLOSED;
    case decision::BreakerState::open:
      return v1::BREAKER_STATE_OPEN;
    case decision::BreakerState::half_open:
      return v1::BREAKER_STATE_HALF_OPEN;
  }
  return v1::BREAKER_STATE_UNSPECIFIED;
}

v1::Counters to_counters(const Runtime::Stats& stats, const std::vector<Runtime::BreakerEvent>& events,
                         const std::vector<NodeDecision>& decisions) {
  v1::Counters out;
  for (const auto& pool : stats.pools) fill(*out.add_pools(), pool);
  for (const auto& upstream : stats.upstreams) fill(*out.add_upstreams(), upstream);
  for (const auto& event : events) fill(*out.add_transitions(), event);
  for (const auto& decision : decisions) fill(*out.add_decisions(), decision);
  out.set_resident_bytes(stats.resident_bytes);
  *out.mutable_cpu() = TimeUtil::NanosecondsToDuration(stats.cpu.count());
  out.set_fibers(stats.fibers);
  out.set_memory_pressure(stats.memory_pressure);
  *out.mutable_run_delay() = TimeUtil::NanosecondsToDuration(stats.run_delay.count());
  return out;
}

}  // namespace penstock::agent
