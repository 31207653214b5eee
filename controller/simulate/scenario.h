#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "penstock/decision/policy.h"
#include "penstock/decision/time.h"

// A scenario as the simulator reads it: penstock/v1/scenario.proto with every default filled in and every value
// checked.
namespace penstock::simulate {

using decision::Duration;
using decision::Instant;

enum class Truth { none, theirs, ours, full, dead };
std::string_view to_string(Truth truth);

struct Window {
  Duration from{};
  Duration to{};
  bool contains(Duration t) const { return t >= from && t < to; }
};

struct Capacity {
  int servers = 1;
  std::optional<int> queue;
  bool works_on_abandoned = true;
  double collapse = 0;
  double others_rate = 0;
};

struct RateLimit {
  double rate = 0;
  double burst = 0;
  Duration retry_after{};
};

struct Episode {
  Window window;
  Truth truth = Truth::theirs;
  std::optional<Duration> latency;
  std::optional<double> spread;
  double share = 1;
  std::optional<double> error_ratio;
  Duration error_latency{};
  double silent_ratio = 0;
  std::optional<Capacity> capacity;
  std::optional<RateLimit> rate_limit;
  // Zero: always in force.
  Duration on{};
  Duration off{};
  Duration ramp{};
  Duration swing{};
};

struct UpstreamModel {
  std::string name;
  Duration latency{};
  double spread = 0;
  double error_ratio = 0;
  std::optional<Capacity> capacity;
  std::vector<Episode> episodes;
};

struct PageModel {
  std::string name;
  std::string path;
  double share = 1;
  // Indices of upstreams.
  std::vector<std::uint32_t> calls;
  Duration cpu{};
  double cpu_spread = 0;
  decision::Priority priority = decision::Priority::normal;
  int tenants = 0;
  int retries = 0;
  bool affected = false;
};

struct UsersModel {
  Duration patience{};
  double refresh_share = 0;
  Duration refresh_after{};
  double retry_share = 0;
  Duration retry_after{};
  int max_tries = 4;
};

struct Burst {
  Window window;
  double factor = 1;
};
struct RatePoint {
  Duration at{};
  double factor = 1;
};
struct LoadModel {
  double rate = 0;
  std::vector<Burst> bursts;
  std::vector<RatePoint> curve;
  // Users a second.
  double rate_at(Duration t) const;
  // The most that rate_at() may answer.
  double highest_rate() const;
};

struct Restart {
  std::uint32_t node = 0;
  Duration at{};
};
struct SlowLink {
  std::uint32_t node = 0;
  Duration extra{};
  Window window;
};
struct NodesModel {
  int count = 2;
  int cores = 8;
  std::int64_t memory_bytes = 0;
  std::int64_t idle_memory_bytes = 0;
  std::int64_t request_memory_bytes = 0;
  std::int64_t thread_memory_bytes = 0;
  std::int64_t queued_memory_bytes = 0;
  Duration refusal_cpu{};
  Duration start_time{};
  std::vector<Restart> restarts;
  // By node; positive: ahead.
  std::vector<Duration> skew;
  std::vector<SlowLink> slow_links;
};

struct StreamOutage {
  Window window;
  std::optional<std::uint32_t> node;
};
struct OutagesModel {
  std::vector<Window> controller;
  std::vector<Window> prometheus;
  std::vector<StreamOutage> stream;
};

struct MonitoringModel {
  Duration scrape_interval{};
  Duration delay{};
  Duration stream_delay{};
  double lost_scrapes = 0;
};

// What was recorded before: days on which nothing was the matter.
struct HistoryModel {
  int days = 0;
  Duration day = std::chrono::hours(24);
};

struct Scenario {
  std::string name;
  std::string about;
  Duration duration{};
  Window measure;
  LoadModel load;
  UsersModel users;
  std::vector<PageModel> pages;
  NodesModel nodes;
  std::vector<UpstreamModel> upstreams;
  OutagesModel outages;
  MonitoringModel monitoring;
  HistoryModel history;
  // Of the nodes themselves.
  std::vector<Window> overload;
  // Of every upstream that a page calls, unless an operator's policy names fewer.
  decision::Policy policy;

  // From the beginning of the first episode or overload to the end of the last; unset: there are none.
  std::optional<Window> trouble() const;
  // What is the matter with an upstream then.
  Truth truth(std::uint32_t upstream, Duration t) const;
};

}  // namespace penstock::simulate
