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

v1::Counters to_counters(const Runtime::Stats& stats, const std::vector<Runtime::BreakerEvent>& events) {
  v1::Counters out;
  for (const auto& pool : stats.pools) fill(*out.add_pools(), pool);
  for (const auto& upstream : stats.upstreams) fill(*out.add_upstreams(), upstream);
  for (const auto& event : events) fill(*out.add_transitions(), event);
  out.set_resident_bytes(stats.resident_bytes);
  *out.mutable_cpu() = TimeUtil::NanosecondsToDuration(stats.cpu.count());
  out.set_fibers(stats.fibers);
  return out;
}

}  // namespace penstock::agent
