#include "controller/simulate/replay/recording.h"

#include <boost/json/parse.hpp>
#include <cmath>
#include <cstdio>
#include <stdexcept>

#include "absl/strings/numbers.h"

namespace penstock::simulate {

namespace json = boost::json;

std::map<std::string, std::string> recording_queries(const std::string& service, double window) {
  char range[32];
  std::snprintf(range, sizeof range, "[%lldms]", static_cast<long long>(window * 1000));
  // A service's name may hold what PromQL would read as something else.
  std::string quoted;
  for (const char c : service) {
    if (c == '"' || c == '\\') quoted += '\\';
    quoted += c == '\n' ? ' ' : c;
  }
  const std::string of = "{service=\"" + quoted + "\",node!=\"\"}";
  const auto by = [](const char* labels, const std::string& vector) {
    return std::string("sum by (") + labels + ") (" + vector + ")";
  };
  const auto rate = [&](const char* metric) { return "rate(" + (metric + of) + range + ")"; };
  return {
      {"pool_rate", by("node, pool", rate("penstock_pool_requests_total"))},
      {"pool_latency", by("node, pool", rate("penstock_pool_request_seconds_sum")) + " / " +
                           by("node, pool", rate("penstock_pool_request_seconds_count"))},
      {"pool_in_flight", by("node, pool", "penstock_pool_in_flight" + of)},
      {"pool_limit", by("node, pool", "penstock_pool_limit" + of)},
      {"node_memory_pressure", by("node", "penstock_node_memory_pressure" + of)},
      {"upstream_calls", by("node, upstream, outcome", "penstock_upstream_requests_total" + of)},
      {"upstream_seconds", by("node, upstream", "penstock_upstream_request_duration_seconds_sum" + of)},
      {"upstream_bucket", by("node, upstream, le", "penstock_upstream_request_duration_seconds_bucket" + of)},
      {"upstream_in_flight", by("node, upstream", "penstock_upstream_in_flight" + of)},
  };
}

std::vector<Recorded> parse_range(std::string_view body) {
  boost::system::error_code failure;
  const json::value document = json::parse({body.data(), body.size()}, failure);
  if (failure || !document.is_object()) throw std::runtime_error("Prometheus answered no JSON object");
  const json::object& object = document.get_object();
  const json::value* error = object.if_contains("error");
  if (error != nullptr && error->is_string())
    throw std::runtime_error("Prometheus: " + std::string(error->get_string()));
  const json::value* data = object.if_contains("data");
  const json::value* result = data != nullptr && data->is_object() ? data->get_object().if_contains("result") : nullptr;
  if (result == nullptr || !result->is_array()) throw std::runtime_error("Prometheus answered without data.result");
  std::vector<Recorded> all;
  for (const json::value& element : result->get_array()) {
    if (!element.is_object()) throw std::runtime_error("Prometheus answered a series that is none");
    const json::value* metric = element.get_object().if_contains("metric");
    const json::value* values = element.get_object().if_contains("values");
    if (metric == nullptr || !metric->is_object() || values == nullptr || !values->is_array())
      throw std::runtime_error("Prometheus answered a series without metric or values: is it a range query?");
    Recorded& series = all.emplace_back();
    for (const auto& [name, label] : metric->get_object())
      if (label.is_string()) series.labels.emplace(std::string(name), std::string(label.get_string()));
    for (const json::value& sample : values->get_array()) {
      const json::array* pair = sample.if_array();
      double value = 0;
      if (pair == nullptr || pair->size() != 2 || !(*pair)[0].is_number() || !(*pair)[1].is_string() ||
          !absl::SimpleAtod(std::string((*pair)[1].get_string()), &value))
        throw std::runtime_error("Prometheus answered a sample that is none");
      if (std::isfinite(value)) series.points.emplace_back((*pair)[0].to_number<double>(), value);
    }
  }
  return all;
}

}  // namespace penstock::simulate
