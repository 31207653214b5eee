#include "penstock/decision/pool_sizing.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "decision/text.h"

namespace penstock::decision {
namespace {

std::string bytes(std::int64_t n) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(n);
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < std::size(kUnits)) {
    value /= 1024;
    ++unit;
  }
  const bool whole = value == std::floor(value) && unit != 3;
  return format(whole ? "%.0f %s" : "%.1f %s", value, kUnits[unit]);
}

std::string latency_text(Duration latency) {
  const double s = seconds(latency);
  return s < 1 ? format("%.3g ms", s * 1e3) : format("%.3g s", s);
}

// Requests that fit into `memory`; at least one, so that a pool always serves.
int fit(std::int64_t memory, std::int64_t bytes_per_request) {
  const std::int64_t n = memory / std::max<std::int64_t>(bytes_per_request, 1);
  return static_cast<int>(std::clamp<std::int64_t>(n, 1, 1'000'000'000));
}

bool usable(double x) { return std::isfinite(x) && x >= 0; }

}  // namespace

PoolSize size_pool(const PoolPolicy& policy, const PoolObservation& observed, int current) {
  PoolSize size;
  const double latency = seconds(observed.latency);
  if (!usable(observed.rate) || !usable(latency) || !usable(observed.in_flight)) {
    size.limit = current;
    size.bound = "hold";
    size.steps.push_back(format("observation is not usable; limit %d is held", current));
    return size;
  }

  const bool ahead =
      observed.expected_rate && usable(*observed.expected_rate) && *observed.expected_rate > observed.rate;
  const double rate = ahead ? *observed.expected_rate : observed.rate;
  const double little = rate * latency;
  const double demand = std::max(little, observed.in_flight);
  const double headed = policy.sizing.headroom * demand;
  const double reserve = rate * seconds(policy.sizing.reaction);
  const double wanted = std::ceil(std::min(headed + reserve, 1e9));

  if (ahead) {
    size.steps.push_back(
        format("%.1f/s arrive, %.1f/s are expected within the hour: sized for these", observed.rate, rate));
  }
  size.steps.push_back(
      format("rate %.1f/s x latency %s = %.1f in flight", rate, latency_text(observed.latency).c_str(), little));
  if (observed.in_flight > little) size.steps.push_back(format("measured in flight %.1f is more", observed.in_flight));
  size.steps.push_back(format("x headroom %.3g = %.1f", policy.sizing.headroom, headed));
  size.steps.push_back(format("+ rate x reaction %.3g s = %.0f", seconds(policy.sizing.reaction), reserve));

  const int memory = fit(policy.memory_bytes, observed.bytes_per_request);
  size.limit = static_cast<int>(wanted);
  size.bound = "demand";
  if (size.limit < policy.min) {
    size.limit = policy.min;
    size.bound = "min";
  }
  if (size.limit > policy.max) {
    size.limit = policy.max;
    size.bound = "max";
  }
  if (size.limit > memory) {
    size.limit = memory;
    size.bound = "memory";
  }
  size.steps.push_back(format("= %.0f -> within [%d, %d], memory %s / %s = %d", wanted, policy.min, policy.max,
                              bytes(policy.memory_bytes).c_str(), bytes(observed.bytes_per_request).c_str(), memory));

  if (observed.cpu && *observed.cpu > kCpuCeiling) {
    const int held = std::min(std::max(current, policy.min), memory);
    if (size.limit > held) {
      size.limit = held;
      size.bound = "cpu";
      size.steps.push_back(format("CPU %.0f %% is above %.0f %%: does not grow beyond %d", *observed.cpu * 100,
                                  kCpuCeiling * 100, held));
    }
  }
  size.steps.push_back(format("limit %d (%s)", size.limit, size.bound.c_str()));
  return size;
}

int next_limit(int current, const PoolSize& size, bool may_shrink) {
  const bool at_bound = size.bound == "min" || size.bound == "max" || size.bound == "memory";
  const double difference = std::abs(static_cast<double>(size.limit) - current);
  if (size.limit == current || (difference <= kBand * current && !at_bound)) return current;
  if (size.limit > current) return size.limit;
  if (!may_shrink) return current;
  const int floor = static_cast<int>(std::ceil(current * (1 - kShrinkStep)));
  return std::max(size.limit, std::min(floor, current - 1));
}

int fallback_limit(const PoolPolicy& policy, std::int64_t bytes_per_request) {
  return std::min(policy.fallback_limit.value_or(policy.max), fit(policy.memory_bytes, bytes_per_request));
}

int bulkhead(const UpstreamPolicy& policy, std::int64_t memory_bytes, std::int64_t used_by_others,
             std::int64_t bytes_per_request) {
  return bulkhead(policy.memory_share, policy.limit.min, policy.limit.max, memory_bytes, used_by_others,
                  bytes_per_request);
}

int bulkhead(double memory_share, int min, int max, std::int64_t memory_bytes, std::int64_t used_by_others,
             std::int64_t bytes_per_request) {
  const double left = static_cast<double>(std::max<std::int64_t>(memory_bytes - used_by_others, 0));
  const double n = left * memory_share / static_cast<double>(std::max<std::int64_t>(bytes_per_request, 1));
  return static_cast<int>(std::clamp(std::floor(n), static_cast<double>(min), static_cast<double>(max)));
}

}  // namespace penstock::decision
