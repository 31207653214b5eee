#pragma once

#include <chrono>
#include <compare>
#include <map>
#include <optional>
#include <string>

#include "controller/fleet/fleet.h"
#include "controller/signals/prometheus_reader.h"
#include "controller/signals/query_result.h"

namespace penstock::controller {

struct PoolKey {
  NodeId id;
  std::string pool;
  auto operator<=>(const PoolKey&) const = default;
};

// What Prometheus says of one pool of one node. Unset: it gave no number that this can be, finite and not negative.
struct PoolSignal {
  // Requests arriving per second, refused ones included.
  std::optional<double> rate;
  // Mean seconds from admission to completion.
  std::optional<double> latency;
  std::optional<double> in_flight;
};

struct NodeSignal {
  // Seconds since the newest sample of the node, by Prometheus's clock.
  std::optional<double> age;
  std::optional<double> resident_bytes;
  // CPU seconds per second.
  std::optional<double> cpu;
};

// How one query was answered.
struct Reading {
  SignalState state = SignalState::empty;
  std::string reason;
  std::string message;
};

// All that one turn of the loop knows from Prometheus.
struct Signals {
  // Names: "pool_rate", "pool_latency", "pool_in_flight", "node_age", "node_memory", "node_cpu".
  std::map<std::string, Reading> readings;
  std::map<PoolKey, PoolSignal> pools;
  std::map<NodeId, NodeSignal> nodes;
  // Length of the windows of rates; a sample older than this is stale.
  std::chrono::milliseconds window{4'000};

  const Reading& reading(const std::string& name) const;
};

// One vector query per signal for the whole fleet, from the nodes' raw metrics. Series are told apart by the labels
// `service` and `node`, which the controller's /sd gives to every target. Nodes that are down (up != 1) are left out:
// their rates live on for the length of the window.
class SignalReader {
 public:
  // scrape_interval at least 100 ms: windows are four times as long.
  SignalReader(PrometheusReader& prometheus, std::chrono::milliseconds scrape_interval);

  // All queries at once, each with its own time-out. Called from a fiber; throws nothing but Cancelled.
  Signals read();

  // What read() takes at most when Prometheus does not answer.
  std::chrono::milliseconds longest() const { return prometheus_.timeout(); }
  std::chrono::milliseconds window() const { return window_; }
  // Whom it asks; empty: nobody.
  const std::string& url() const { return prometheus_.url(); }

 private:
  PrometheusReader& prometheus_;
  std::chrono::milliseconds window_;
  // By name.
  std::map<std::string, std::string> queries_;
};

}  // namespace penstock::controller
