#pragma once

#include <deque>
#include <optional>
#include <vector>

#include "controller/simulate/random.h"
#include "controller/simulate/scenario.h"

// Prometheus, as far as the controller reads it: counters of each node, scraped, late, and sometimes lost.
namespace penstock::simulate {

// What a node shows at /metrics. Counters are since its start.
struct Exposition {
  struct Pool {
    double requests = 0;
    double completed = 0;
    double busy_seconds = 0;
    double in_flight = 0;
  };
  std::vector<Pool> pools;
  double resident_bytes = 0;
  double cpu_seconds = 0;
  struct Upstream {
    double attempts = 0;
    double ok = 0;
    double errors = 0;
    double timeouts = 0;
    double rejected = 0;
    double latency_seconds = 0;
    double in_flight = 0;
  };
  std::vector<Upstream> upstreams;
};

class Prometheus {
 public:
  Prometheus(const MonitoringModel& model, int nodes, std::uint64_t seed);

  // Takes one sample, or loses it.
  void scrape(std::uint32_t node, const Exposition& exposition, Instant now);
  // The target did not answer: what was scraped before is stale at once.
  void missed(std::uint32_t node);

  // Over four scrapes.
  Duration window() const { return 4 * model_.scrape_interval; }
  // Increase a second of a counter over the window; unset with fewer than two samples in it.
  template <class Counter>
  std::optional<double> rate(std::uint32_t node, Counter&& counter, Instant now) const {
    const Sample* first = nullptr;
    const Sample* last = nullptr;
    for (const Sample& sample : visible_[node]) {
      if (sample.at > now - model_.delay || sample.at < now - model_.delay - window()) continue;
      if (!first) first = &sample;
      last = &sample;
    }
    if (first == last) return std::nullopt;
    // A counter that fell began again.
    const double increase = std::max(0.0, counter(last->exposition) - counter(first->exposition));
    return increase / decision::seconds(last->at - first->at);
  }
  // The newest sample; null when there is none within the window.
  const Exposition* latest(std::uint32_t node, Instant now) const;

 private:
  struct Sample {
    Instant at;
    Exposition exposition;
  };
  const MonitoringModel& model_;
  Random random_;
  std::vector<std::deque<Sample>> visible_;
};

}  // namespace penstock::simulate
