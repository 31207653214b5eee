#pragma once

#include <optional>
#include <string>
#include <vector>

#include "penstock/decision/policy.h"
#include "penstock/decision/time.h"

// How many requests a pool may hold.
//
// Little's law (J. D. C. Little, "A Proof for the Queuing Formula L = lambda W", Operations Research 9(3), 1961):
//   limit = headroom x max(rate x latency, in_flight) + rate x reaction
// with the rate that is expected soon, where that is more than the rate of now: a rush that comes each day finds its
// place;
// clamped to [min, max] and to the memory budget / memory per request. The second term is room for the arrivals of the
// time that the controller needs to see a change and act: should everything stall now, nothing is refused before the
// next decision.
namespace penstock::decision {

struct PoolObservation {
  // Requests arriving per second, and their mean time in the pool.
  double rate = 0;
  Duration latency{};
  // Requests per second that are expected soon, by what was usual at this time; unset: not known.
  std::optional<double> expected_rate;
  // Requests in flight now.
  double in_flight = 0;
  // Resident memory that one request in flight is measured or assumed to use.
  std::int64_t bytes_per_request = 32 * 1024;
  // Fraction in [0,1] of the node's CPU in use; unset when not known.
  std::optional<double> cpu;
};

struct PoolSize {
  int limit = 0;
  // What bound: "demand", "min", "max", "memory", "cpu".
  std::string bound;
  // The formula with its numbers, a step a line.
  std::vector<std::string> steps;
};

// Pure. With CPU above `kCpuCeiling` it does not grow beyond `current`: more concurrency would only queue for the CPU.
PoolSize size_pool(const PoolPolicy& policy, const PoolObservation& observed, int current);
inline constexpr double kCpuCeiling = 0.95;

// From the limit in force towards what is right: growth at once; shrinking, when it may, by at most kShrinkStep; and
// what differs by no more than kBand and reaches no bound is left alone: the arrivals of a few seconds vary by that
// much.
int next_limit(int current, const PoolSize& size, bool may_shrink);
inline constexpr double kBand = 0.15;
inline constexpr double kShrinkStep = 0.2;

// The limit of a node on its own: the fallback_limit, or max, within the memory budget.
int fallback_limit(const PoolPolicy& policy, std::int64_t bytes_per_request);

// Requests that may be in or waiting for one upstream: its share of the memory that is left, at least limit.min, at
// most limit.max.
int bulkhead(const UpstreamPolicy& policy, std::int64_t memory_bytes, std::int64_t used_by_others,
             std::int64_t bytes_per_request);
// The same, within [min, max].
int bulkhead(double memory_share, int min, int max, std::int64_t memory_bytes, std::int64_t used_by_others,
             std::int64_t bytes_per_request);

}  // namespace penstock::decision
