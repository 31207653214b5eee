#pragma once

#include <chrono>
#include <string>
#include <string_view>
#include <variant>

#include "controller/signals/query_result.h"
#include "penstock/http.h"
#include "penstock/metrics.h"

namespace penstock::controller {

struct PrometheusOptions {
  // "http://host:port" or https, with a path prefix if Prometheus has one. Empty: there is no Prometheus; every query is an
  // error.
  std::string url;
  // Of one query, from its start to its last byte.
  std::chrono::milliseconds timeout{2'000};
};

// Reads vectors over Prometheus's HTTP API. Thread-safe; called from fibers.
class PrometheusReader {
 public:
  PrometheusReader(http::Client& client, PrometheusOptions options, MetricsRegistry& metrics);

  // Throws nothing but Cancelled. Errors are counted in penstock_controller_query_errors_total{reason}.
  QueryResult query(std::string_view promql);
  // The values of every `step` from `from` to `to`, on Prometheus's clock. Has a time-out of its own: a range takes
  // longer to make. Otherwise like query().
  RangeResult query_range(std::string_view promql, std::chrono::system_clock::time_point from,
                          std::chrono::system_clock::time_point to, std::chrono::seconds step,
                          std::chrono::milliseconds timeout);

  std::chrono::milliseconds timeout() const { return options_.timeout; }
  // Empty: there is none.
  const std::string& url() const { return options_.url; }

  // An answer passed through as it came, for the console: `endpoint` is "query" or "query_range", `parameters` is
  // form-encoded. Throws what http::Client throws.
  http::Response forward(std::string_view endpoint, std::string_view parameters);

 private:
  // A response, or an error's reason and message. `parameters`: beside the query and the time-out.
  std::variant<http::Response, QueryResult> ask(std::string_view endpoint, std::string_view promql,
                                                std::string_view parameters, std::chrono::milliseconds timeout);
  void count(SignalState state, const std::string& reason);

  http::Client& client_;
  PrometheusOptions options_;
  MetricsRegistry& metrics_;
};

// As application/x-www-form-urlencoded wants it.
std::string form_encode(std::string_view text);

}  // namespace penstock::controller
