#pragma once

#include <optional>
#include <vector>

#include "controller/simulate/scenario.h"
#include "penstock/decision/baseline.h"

namespace penstock::simulate {

// What the controller knows of the days before the run: decision::Baseline, filled with what the scenario says of them.
class PenstockHistory {
 public:
  explicit PenstockHistory(const Scenario& scenario);

  // Latency that is usual of an upstream at that time; zero: nothing is known.
  Duration latency(std::uint32_t upstream, Instant now) const;
  // Requests a second of all nodes that are expected of a pool within the next hour; unset: nothing is known.
  std::optional<double> rate(const std::string& pool, Instant now) const;

 private:
  Duration wall(Instant now) const;

  const HistoryModel model_;
  std::vector<decision::Baseline> latencies_;
  std::vector<std::pair<std::string, decision::Baseline>> rates_;
};

}  // namespace penstock::simulate
