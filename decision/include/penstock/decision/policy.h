#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "penstock/decision/time.h"

// A policy as the decisions read it: every default filled in, every value checked. The defaults here are those that
// proto/penstock/v1/policy.proto documents; the ranges are enforced where policies enter, in policy/.
namespace penstock::decision {

enum class QueueDiscipline { fifo, codel, newest_first, deadline };
enum class Priority : std::uint8_t { critical, high, normal, low };
inline constexpr int kPriorities = 4;

// "critical", "high", "normal", "low": the label of metrics and logs.
std::string_view to_string(Priority priority);

struct QueuePolicy {
  QueueDiscipline discipline = QueueDiscipline::codel;
  int max = 2000;
  Duration max_wait = std::chrono::seconds(1);
  Duration target = std::chrono::milliseconds(50);
  Duration interval = std::chrono::milliseconds(500);
  bool operator==(const QueuePolicy&) const = default;
};

struct SizingPolicy {
  double headroom = 2.0;
  Duration reaction = std::chrono::seconds(10);
  bool operator==(const SizingPolicy&) const = default;
};

struct PoolPolicy {
  std::string name = "default";
  int min = 64;
  int max = 20000;
  std::int64_t memory_bytes = std::int64_t{1} << 30;
  QueuePolicy queue;
  SizingPolicy sizing;
  // Limit without a controller; unset: max, within the memory budget.
  std::optional<int> fallback_limit;
  bool operator==(const PoolPolicy&) const = default;
};

struct RoutePolicy {
  // Exact path, or a prefix when it ends in "*".
  std::string match;
  std::string pool = "default";
  Priority priority = Priority::normal;
  std::optional<Duration> deadline;
  // Whose its requests are, whatever their header says; empty: the header's.
  std::string tenant;
  bool operator==(const RoutePolicy&) const = default;
};

// Who shares the pools and upstreams of a service when they are full, and how: shares.h.
struct TenantPolicy {
  std::string name;
  double weight = 1;
  bool operator==(const TenantPolicy&) const = default;
};

struct TenantsPolicy {
  // Of a request, lower case, whose value names its tenant; empty: only routes do.
  std::string header;
  std::vector<TenantPolicy> named;
  // Weight of all others together.
  double others = 1;
  bool operator==(const TenantsPolicy&) const = default;
};

enum class LimitMode { adaptive, fixed };

// Whether the cause of slowness is looked for by cutting concurrency: cause_test.h.
enum class KneeTest { off, observe, act };

struct LimitPolicy {
  LimitMode mode = LimitMode::adaptive;
  int min = 4;
  int max = 5000;
  KneeTest knee_test = KneeTest::act;
  bool operator==(const LimitPolicy&) const = default;
};

struct SlowCallRule {
  Duration over{};
  double ratio = 0.6;
  bool operator==(const SlowCallRule&) const = default;
};

struct BreakerPolicy {
  std::optional<SlowCallRule> slow_call;
  std::optional<double> error_ratio;
  int min_calls = 20;
  Duration window = std::chrono::seconds(10);
  Duration open = std::chrono::seconds(2);
  int probes = 3;
  bool usefulness = true;
  bool operator==(const BreakerPolicy&) const = default;
};

// What refused calls of unmodified programs fail with.
enum class RefusalError { connection_refused, timed_out, host_unreachable, network_down };

struct UpstreamPolicy {
  std::string name;
  // "host" or "host:port", lower case.
  std::vector<std::string> hosts;
  LimitPolicy limit;
  BreakerPolicy breaker;
  Duration timeout = std::chrono::seconds(30);
  double retry_budget = 0.1;
  bool hedge = true;
  double memory_share = 0.85;
  RefusalError refusal_error = RefusalError::connection_refused;
  bool operator==(const UpstreamPolicy&) const = default;
};

// Whether a guard of the node acts.
enum class GuardMode { off, observe, act };

struct GuardsPolicy {
  // Of the process; unset: the limit of its control group.
  std::optional<std::int64_t> memory_bytes;
  GuardMode memory = GuardMode::act;
  GuardMode cpu = GuardMode::act;
  bool operator==(const GuardsPolicy&) const = default;
};

struct Policy {
  std::string name;
  std::string service;
  std::int64_t revision = 0;
  // Decide, export and log, but actuate nothing.
  bool shadow = false;
  std::vector<PoolPolicy> pools;
  std::vector<RoutePolicy> routes;
  std::vector<UpstreamPolicy> upstreams;
  GuardsPolicy guards;
  TenantsPolicy tenants;
  bool operator==(const Policy&) const = default;
};

// Whether `path` (without its query) matches a route's pattern.
bool route_matches(std::string_view pattern, std::string_view path);

}  // namespace penstock::decision
