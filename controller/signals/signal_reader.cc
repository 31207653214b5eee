#include "controller/signals/signal_reader.h"

#include <stdexcept>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "penstock/fiber.h"

namespace penstock::controller {

namespace {

constexpr int kScrapesPerWindow = 4;
constexpr std::chrono::milliseconds kShortestScrape{100};

// The series of nodes that answered their last scrape.
std::string alive(const std::string& vector) { return vector + " and on (job, instance) (up == 1)"; }

std::map<std::string, std::string> make_queries(std::chrono::milliseconds window) {
  const std::string range = absl::StrCat("[", window.count(), "ms]");
  const auto rate = [&](const char* metric) { return alive(absl::StrCat("rate(", metric, range, ")")); };
  const auto by_pool = [](const std::string& vector) {
    return absl::StrCat("sum by (service, node, pool) (", vector, ")");
  };
  const auto by_node = [](const std::string& vector) { return absl::StrCat("sum by (service, node) (", vector, ")"); };
  return {
      {"pool_rate", by_pool(rate("penstock_pool_requests_total"))},
      {"pool_latency", absl::StrCat(by_pool(rate("penstock_pool_request_seconds_sum")), " / ",
                                    by_pool(rate("penstock_pool_request_seconds_count")))},
      {"pool_in_flight", by_pool(alive("penstock_pool_in_flight"))},
      // timestamp() tells the time of a sample only directly on a selector; of anything else, the time of the query.
      {"node_age", absl::StrCat("time() - max by (service, node) (", alive("timestamp(penstock_pool_limit)"), ")")},
      {"node_memory", by_node(alive("process_resident_memory_bytes"))},
      {"node_cpu", by_node(rate("process_cpu_seconds_total"))},
  };
}

const std::string* find(const Sample& sample, const char* label) {
  const auto found = sample.labels.find(label);
  return found == sample.labels.end() || found->second.empty() ? nullptr : &found->second;
}

// What nothing measured is above: seconds; calls, bytes and rates.
constexpr double kMostSeconds = 1e9;
constexpr double kMost = 1e15;

// Series of targets that are no nodes lack the labels, and are left out; so are numbers that nothing measured can be.
template <class Store>
void each_node(const QueryResult& result, double most, Store store) {
  for (const Sample& sample : result.samples) {
    const std::string* service = find(sample, "service");
    const std::string* node = find(sample, "node");
    if (service != nullptr && node != nullptr && sample.value >= 0 && sample.value <= most)
      store(NodeId{*service, *node}, sample);
  }
}

}  // namespace

const Reading& Signals::reading(const std::string& name) const {
  static const Reading kNone;
  const auto found = readings.find(name);
  return found == readings.end() ? kNone : found->second;
}

SignalReader::SignalReader(PrometheusReader& prometheus, std::chrono::milliseconds scrape_interval)
    : prometheus_(prometheus), window_(kScrapesPerWindow * scrape_interval), queries_(make_queries(window_)) {
  if (scrape_interval < kShortestScrape) throw std::invalid_argument("scrape_interval: below 100 ms");
}

Signals SignalReader::read() {
  std::map<std::string, QueryResult> results;
  std::vector<Fiber> fibers;
  for (const auto& [name, promql] : queries_) {
    QueryResult& result = results[name];
    fibers.push_back(spawn("query " + name, [this, &result, &promql = promql] { result = prometheus_.query(promql); }));
  }
  {
    // The fibers write to this frame: a cancelled loop waits for them, which the time-out of a query bounds.
    CancelShield shield;
    for (Fiber& fiber : fibers) fiber.join();
  }
  check_interrupts();

  Signals signals;
  signals.window = window_;
  for (auto& [name, result] : results) {
    signals.readings[name] = {result.state, std::move(result.reason), std::move(result.message)};
  }
  const auto read_pools = [&](const char* name, std::optional<double> PoolSignal::*field, double most = kMost) {
    each_node(results[name], most, [&](NodeId id, const Sample& sample) {
      const std::string* pool = find(sample, "pool");
      if (pool != nullptr) signals.pools[{std::move(id), *pool}].*field = sample.value;
    });
  };
  const auto read_nodes = [&](const char* name, std::optional<double> NodeSignal::*field, double most = kMost) {
    each_node(results[name], most,
              [&](const NodeId& id, const Sample& sample) { signals.nodes[id].*field = sample.value; });
  };
  read_pools("pool_rate", &PoolSignal::rate);
  read_pools("pool_latency", &PoolSignal::latency, kMostSeconds);
  read_pools("pool_in_flight", &PoolSignal::in_flight);
  read_nodes("node_age", &NodeSignal::age, kMostSeconds);
  read_nodes("node_memory", &NodeSignal::resident_bytes);
  read_nodes("node_cpu", &NodeSignal::cpu);
  return signals;
}

}  // namespace penstock::controller
