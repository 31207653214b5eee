#pragma once

#include <chrono>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "controller/signals/prometheus_reader.h"

namespace penstock::controller {

// What one hour was like, over all nodes of a service.
struct UpstreamHour {
  std::chrono::system_clock::time_point began;
  // Answers per second, and their mean latency in seconds.
  double rate = 0;
  double latency = 0;
};
struct PoolHour {
  std::chrono::system_clock::time_point began;
  // Requests arriving per second, refused ones included.
  double rate = 0;
};

// By service and name.
struct History {
  std::map<std::pair<std::string, std::string>, std::vector<UpstreamHour>> upstreams;
  std::map<std::pair<std::string, std::string>, std::vector<PoolHour>> pools;
  // What went wrong, a sentence; empty: nothing. Then the rest is empty.
  std::string error;
};

// Reads hours that Prometheus recorded, from the nodes' raw metrics. A range of a day costs Prometheus each sample of
// that day once, so ranges are to be short where nodes are many. Called from fibers.
class HistoryReader {
 public:
  // Hours with fewer answers tell nothing about latency.
  static constexpr double kFewestAnswers = 60;
  static constexpr std::chrono::seconds kTimeout{20};

  explicit HistoryReader(PrometheusReader& prometheus) : prometheus_(prometheus) {}

  // The hours from `from` to `to`, which are full ones. Throws nothing but Cancelled.
  History read(std::chrono::system_clock::time_point from, std::chrono::system_clock::time_point to);

 private:
  PrometheusReader& prometheus_;
};

}  // namespace penstock::controller
