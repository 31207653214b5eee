#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace penstock::simulate {

// What Prometheus has recorded of one service: series of samples at equal steps, by signal.
struct Recorded {
  std::map<std::string, std::string> labels;
  // Seconds since the Unix epoch, ascending, and the value; steps without a sample are left out.
  std::vector<std::pair<double, double>> points;

  std::string label(const std::string& name) const {
    const auto found = labels.find(name);
    return found == labels.end() ? "" : found->second;
  }
};
using Recording = std::map<std::string, std::vector<Recorded>>;

// The queries that a replay needs, by signal; for /api/v1/query_range. `window` in seconds: of rates, at least four
// scrapes.
std::map<std::string, std::string> recording_queries(const std::string& service, double window);

// Reads the body of an answer of query_range. Throws std::runtime_error that says what is wrong with it.
std::vector<Recorded> parse_range(std::string_view body);

}  // namespace penstock::simulate
