#include "controller/signals/prometheus_reader.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "penstock/fiber.h"

namespace penstock::controller {

namespace {

constexpr std::string_view kErrors = "penstock_controller_query_errors_total";
constexpr std::string_view kErrorsHelp = "Queries to Prometheus that gave no usable answer.";

http::Headers form_headers() { return {{"Content-Type", "application/x-www-form-urlencoded"}}; }

}  // namespace

std::string form_encode(std::string_view text) {
  static constexpr char kHex[] = "0123456789ABCDEF";
  std::string out;
  out.reserve(text.size() * 2);
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if ((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' || c == '_' ||
        c == '.') {
      out += c;
    } else {
      out += '%';
      out += kHex[byte >> 4];
      out += kHex[byte & 15];
    }
  }
  return out;
}

PrometheusReader::PrometheusReader(http::Client& client, PrometheusOptions options, MetricsRegistry& metrics)
    : client_(client), options_(std::move(options)), metrics_(metrics) {
  while (!options_.url.empty() && options_.url.back() == '/') options_.url.pop_back();
  for (const char* reason : {"connect", "timeout", "rejected", "status", "query", "json", "shape"}) {
    metrics_.counter(kErrors, kErrorsHelp, {{"reason", reason}});
  }
}

QueryResult PrometheusReader::query(std::string_view promql) {
  QueryResult result = ask(promql);
  if (result.state == SignalState::error) metrics_.counter(kErrors, kErrorsHelp, {{"reason", result.reason}}).add();
  return result;
}

QueryResult PrometheusReader::ask(std::string_view promql) {
  if (options_.url.empty()) return QueryResult::error("connect", "no Prometheus is configured");
  try {
    DeadlineScope scope(std::chrono::steady_clock::now() + options_.timeout);
    const std::string body = absl::StrCat("query=", form_encode(promql), "&timeout=", options_.timeout.count(), "ms");
    const http::Response response = client_.post(options_.url + "/api/v1/query", body, form_headers());
    return parse_query_response(response.status, response.body);
  } catch (const DeadlineExceeded&) {
    return QueryResult::error("timeout", absl::StrCat("no answer within ", options_.timeout.count(), " ms"));
  } catch (const Rejected& refusal) {
    return QueryResult::error("rejected", refusal.what());
  } catch (const http::CallError& failure) {
    return QueryResult::error("connect", failure.what());
  }
}

http::Response PrometheusReader::forward(std::string_view endpoint, std::string_view parameters) {
  if (options_.url.empty()) throw http::CallError("no Prometheus is configured");
  DeadlineScope scope(std::chrono::steady_clock::now() + options_.timeout);
  return client_.post(absl::StrCat(options_.url, "/api/v1/", std::string(endpoint)), parameters, form_headers());
}

}  // namespace penstock::controller
