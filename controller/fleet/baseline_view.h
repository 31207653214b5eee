#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <utility>

#include "penstock/decision/baseline.h"

// What recorded weeks say of an upstream or a pool now.
namespace penstock::controller {

struct BaselineView {
  // Latency in seconds, of an upstream; requests per second, of a pool. Unset: too little is known.
  std::optional<decision::Baseline::Expected> expected;
  // Of an upstream: answers per second. Of a pool: the highest rate that is expected within the hour.
  double rate = 0;
  // Hours known, and since when.
  int hours = 0;
  std::chrono::system_clock::time_point since{};
  // Of an upstream's latency.
  std::optional<decision::Baseline::Drift> drift;
  std::optional<decision::Baseline::Drift> departure;
};

// By service and name.
using BaselineViews = std::map<std::pair<std::string, std::string>, BaselineView>;
struct Baselines {
  BaselineViews upstreams;
  BaselineViews pools;
  // All that is to be read at start was read.
  bool complete = false;
  // Why nothing is read now; empty: it is.
  std::string error;
};

// A span as people say it: "3 weeks", "2 days", "5 hours".
std::string span_text(decision::Duration span);

// Sentences for `why`, of an upstream (`latency`: as it is now, zero when not known) and of a pool.
std::string describe_upstream_baseline(const BaselineView* view, const Baselines& all, decision::Duration latency);
std::string describe_pool_baseline(const BaselineView* view, const Baselines& all);

}  // namespace penstock::controller
