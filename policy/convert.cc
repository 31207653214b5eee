#include "policy/convert.h"

#include <google/protobuf/duration.pb.h>
#include <google/protobuf/timestamp.pb.h>

#include <algorithm>
#include <limits>
#include <utility>

#include "penstock/v1/policy.pb.h"
#include "policy/text.h"
#include "policy/validate.h"

namespace penstock::policy {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000;

std::chrono::nanoseconds nanoseconds(std::int64_t seconds, std::int64_t nanos) {
  constexpr std::int64_t kMostSeconds = std::numeric_limits<std::int64_t>::max() / kSecond - 1;
  if (seconds > kMostSeconds) return std::chrono::nanoseconds::max();
  if (seconds < -kMostSeconds) return std::chrono::nanoseconds::min();
  return std::chrono::nanoseconds(seconds * kSecond + std::clamp(nanos, -kSecond, kSecond));
}

decision::QueueDiscipline discipline(v1::QueueDiscipline value) {
  switch (value) {
    case v1::QUEUE_DISCIPLINE_FIFO:
      return decision::QueueDiscipline::fifo;
    case v1::QUEUE_DISCIPLINE_NEWEST_FIRST:
      return decision::QueueDiscipline::newest_first;
    case v1::QUEUE_DISCIPLINE_DEADLINE:
      return decision::QueueDiscipline::deadline;
    default:
      return decision::QueueDiscipline::codel;
  }
}

decision::Priority priority(v1::Priority value) {
  switch (value) {
    case v1::PRIORITY_CRITICAL:
      return decision::Priority::critical;
    case v1::PRIORITY_HIGH:
      return decision::Priority::high;
    case v1::PRIORITY_LOW:
      return decision::Priority::low;
    default:
      return decision::Priority::normal;
  }
}

decision::RefusalError refusal_error(v1::RefusalError value) {
  switch (value) {
    case v1::REFUSAL_ERROR_TIMED_OUT:
      return decision::RefusalError::timed_out;
    case v1::REFUSAL_ERROR_HOST_UNREACHABLE:
      return decision::RefusalError::host_unreachable;
    case v1::REFUSAL_ERROR_NETWORK_DOWN:
      return decision::RefusalError::network_down;
    default:
      return decision::RefusalError::connection_refused;
  }
}

decision::KneeTest knee_test(v1::KneeTest value) {
  switch (value) {
    case v1::KNEE_TEST_OFF:
      return decision::KneeTest::off;
    case v1::KNEE_TEST_OBSERVE:
      return decision::KneeTest::observe;
    default:
      return decision::KneeTest::act;
  }
}

decision::GuardMode guard_mode(v1::GuardMode value) {
  switch (value) {
    case v1::GUARD_MODE_OFF:
      return decision::GuardMode::off;
    case v1::GUARD_MODE_OBSERVE:
      return decision::GuardMode::observe;
    default:
      return decision::GuardMode::act;
  }
}

decision::GuardsPolicy guards(const v1::Guards& from) {
  decision::GuardsPolicy to;
  if (from.has_memory_bytes()) to.memory_bytes = from.memory_bytes();
  to.memory = guard_mode(from.memory_guard());
  to.cpu = guard_mode(from.cpu_guard());
  return to;
}

decision::TenantsPolicy tenants(const v1::Tenants& from) {
  decision::TenantsPolicy to;
  to.header = lower_case(from.header());
  if (from.has_others()) to.others = from.others();
  for (const v1::Tenant& tenant : from.named()) {
    to.named.push_back({tenant.name(), tenant.has_weight() ? tenant.weight() : decision::TenantPolicy{}.weight});
  }
  return to;
}

decision::PoolPolicy pool(const v1::Pool& from) {
  decision::PoolPolicy to;
  to.name = from.name();
  if (from.has_min()) to.min = from.min();
  if (from.has_max()) to.max = from.max();
  if (from.has_memory_bytes()) to.memory_bytes = from.memory_bytes();
  if (from.has_fallback_limit()) to.fallback_limit = from.fallback_limit();
  to.queue.discipline = discipline(from.queue().discipline());
  if (from.queue().has_max()) to.queue.max = from.queue().max();
  if (from.queue().has_max_wait()) to.queue.max_wait = to_chrono(from.queue().max_wait());
  if (from.queue().has_target()) to.queue.target = to_chrono(from.queue().target());
  if (from.queue().has_interval()) to.queue.interval = to_chrono(from.queue().interval());
  if (from.sizing().has_headroom()) to.sizing.headroom = from.sizing().headroom();
  if (from.sizing().has_reaction()) to.sizing.reaction = to_chrono(from.sizing().reaction());
  return to;
}

decision::RoutePolicy route(const v1::Route& from) {
  decision::RoutePolicy to;
  to.match = from.match();
  if (!from.pool().empty()) to.pool = from.pool();
  to.priority = priority(from.priority());
  if (from.has_deadline()) to.deadline = to_chrono(from.deadline());
  to.tenant = from.tenant();
  return to;
}

decision::BreakerPolicy breaker(const v1::Breaker& from) {
  decision::BreakerPolicy to;
  if (from.has_slow_call()) {
    to.slow_call.emplace();
    to.slow_call->over = to_chrono(from.slow_call().over());
    if (from.slow_call().has_ratio()) to.slow_call->ratio = from.slow_call().ratio();
  }
  if (from.has_error_ratio()) to.error_ratio = from.error_ratio();
  if (from.has_min_calls()) to.min_calls = from.min_calls();
  if (from.has_window()) to.window = to_chrono(from.window());
  if (from.has_open()) to.open = to_chrono(from.open());
  if (from.has_probes()) to.probes = from.probes();
  if (from.has_usefulness()) to.usefulness = from.usefulness();
  return to;
}

decision::UpstreamPolicy upstream(const v1::Upstream& from) {
  decision::UpstreamPolicy to;
  to.name = from.name();
  for (const std::string& host : from.match().hosts()) to.hosts.push_back(lower_case(host));
  if (from.limit().mode() == v1::LIMIT_MODE_FIXED) to.limit.mode = decision::LimitMode::fixed;
  if (from.limit().has_min()) to.limit.min = from.limit().min();
  if (from.limit().has_max()) to.limit.max = from.limit().max();
  to.limit.knee_test = knee_test(from.limit().knee_test());
  to.breaker = breaker(from.breaker());
  if (from.has_timeout()) to.timeout = to_chrono(from.timeout());
  if (from.has_retry_budget()) to.retry_budget = from.retry_budget();
  if (from.has_hedge()) to.hedge = from.hedge();
  if (from.has_memory_share()) to.memory_share = from.memory_share();
  to.refusal_error = refusal_error(from.refusal_error());
  return to;
}

}  // namespace

absl::StatusOr<decision::Policy> to_decision(const v1::Policy& policy) {
  if (absl::Status status = check(policy); !status.ok()) return status;
  decision::Policy result;
  result.name = policy.metadata().name();
  result.revision = policy.metadata().revision();
  result.service = policy.spec().service();
  result.shadow = policy.spec().mode() == v1::POLICY_MODE_SHADOW;
  for (const v1::Pool& from : policy.spec().pools()) result.pools.push_back(pool(from));
  if (std::ranges::find(result.pools, "default", &decision::PoolPolicy::name) == result.pools.end())
    result.pools.insert(result.pools.begin(), decision::PoolPolicy{});
  for (const v1::Route& from : policy.spec().routes()) result.routes.push_back(route(from));
  for (const v1::Upstream& from : policy.spec().upstreams()) result.upstreams.push_back(upstream(from));
  result.guards = guards(policy.spec().guards());
  result.tenants = tenants(policy.spec().tenants());
  return result;
}

std::chrono::nanoseconds to_chrono(const google::protobuf::Duration& value) {
  return nanoseconds(value.seconds(), value.nanos());
}

google::protobuf::Duration to_proto(std::chrono::nanoseconds value) {
  google::protobuf::Duration result;
  result.set_seconds(value.count() / kSecond);
  result.set_nanos(static_cast<std::int32_t>(value.count() % kSecond));
  return result;
}

std::chrono::system_clock::time_point to_chrono(const google::protobuf::Timestamp& value) {
  return std::chrono::system_clock::time_point(
      std::chrono::duration_cast<std::chrono::system_clock::duration>(nanoseconds(value.seconds(), value.nanos())));
}

google::protobuf::Timestamp to_proto(std::chrono::system_clock::time_point value) {
  const auto since = std::chrono::duration_cast<std::chrono::nanoseconds>(value.time_since_epoch());
  const auto seconds = std::chrono::floor<std::chrono::seconds>(since);
  google::protobuf::Timestamp result;
  result.set_seconds(seconds.count());
  result.set_nanos(static_cast<std::int32_t>((since - seconds).count()));
  return result;
}

}  // namespace penstock::policy
