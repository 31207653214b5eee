#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "controller/simulate/outcome.h"
#include "controller/simulate/scenario.h"
#include "controller/simulate/strategy.h"

namespace penstock::simulate {

// One life of one scenario. The same arguments give the same row, bit for bit, but for wall_s.
Row run(const Scenario& scenario, const Contender& contender, std::uint64_t seed);

struct Job {
  const Scenario* scenario;
  const Contender* contender;
  std::uint64_t seed;
};
// All of them on `threads` threads; the rows come in the order of the jobs. `done` is called after each, never by two
// threads at once.
std::vector<Row> run_all(const std::vector<Job>& jobs, unsigned threads, const std::function<void(const Row&)>& done);

}  // namespace penstock::simulate
