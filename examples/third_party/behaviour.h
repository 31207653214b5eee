#pragma once

#include <optional>
#include <string>
#include <string_view>

// How a third party behaves, as its /control shows and takes it.
namespace third_party {

struct Behaviour {
  // Log-normal.
  double latency_median_ms = 50;
  double latency_sigma = 0.3;
  // Share of the calls that are answered 500, after the latency.
  double error_ratio = 0;
  // Calls worked on at once; others wait their turn, oldest first.
  std::optional<int> capacity;
  // From this many calls in flight n on, the latency is multiplied by (n / collapse_above)^2: throughput falls.
  std::optional<int> collapse_above;
  // Calls per second; those beyond are answered 429 at once, with Retry-After.
  std::optional<double> max_rate;
  int retry_after_s = 1;
  // Takes calls and never answers. Calls that it swallowed stay without an answer when it ends.
  bool blackhole = false;
};

// The behaviour of a JSON object; members that it does not name are as above. Throws std::invalid_argument naming an
// unknown member or a value out of range.
Behaviour parse_behaviour(std::string_view json);
std::string to_json(const Behaviour& behaviour);

}  // namespace third_party
