#include "controller/loop/read_counters.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "policy/convert.h"

namespace penstock::controller {
namespace {

constexpr std::uint64_t kMostCalls = std::uint64_t{1} << 50;
constexpr std::int32_t kMostInFlight = 1'000'000;
constexpr double kLongest = 86'400;

bool time(const google::protobuf::Duration& of, double most) {
  const double length = decision::seconds(policy::to_chrono(of));
  return length >= 0 && length <= most;
}

}  // namespace

bool can_be(const v1::Counters& counted) {
  return std::isfinite(counted.memory_pressure()) && time(counted.run_delay(), kLongest);
}

bool can_be(const v1::UpstreamCounters& counted) {
  return std::max({counted.attempts(), counted.ok(), counted.errors(), counted.timeouts(), counted.refused()}) <=
             kMostCalls &&
         std::max(counted.in_flight(), counted.waiting()) <= kMostInFlight &&
         std::min(counted.in_flight(), counted.waiting()) >= 0 && time(counted.mean_age(), kLongest) &&
         time(counted.patience(), kLongest) && time(counted.ok_latency(), kLongest * static_cast<double>(counted.ok()));
}

bool read_counts(const v1::UpstreamCounters& from, decision::UpstreamCounts& to) {
  const decision::UpstreamCounts before = to;
  to.attempts = static_cast<std::int64_t>(from.attempts());
  to.ok = static_cast<std::int64_t>(from.ok());
  to.failed = static_cast<std::int64_t>(from.errors() + from.timeouts());
  to.refused = static_cast<std::int64_t>(from.refused());
  to.latency = policy::to_chrono(from.ok_latency());
  to.in_flight = std::max(0, from.in_flight());
  to.waiting = std::max(0, from.waiting());
  to.mean_age = policy::to_chrono(from.mean_age());
  return to.attempts >= before.attempts && to.ok >= before.ok && to.failed >= before.failed &&
         to.refused >= before.refused && to.latency >= before.latency;
}

decision::BreakerState to_state(v1::BreakerState state) {
  switch (state) {
    case v1::BREAKER_STATE_OPEN:
      return decision::BreakerState::open;
    case v1::BREAKER_STATE_HALF_OPEN:
      return decision::BreakerState::half_open;
    default:
      return decision::BreakerState::closed;
  }
}

}  // namespace penstock::controller
