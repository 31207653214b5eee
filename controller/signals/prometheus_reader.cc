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
  auto answer = ask("query", promql, "", options_.timeout);
  const auto* response = std::get_if<http::Response>(&answer);
  QueryResult result = response == nullptr ? std::get<QueryResult>(std::move(answer))
                                           : parse_query_response(response->status, response->body);
  count(result.state, result.reason);
  return result;
}

RangeResult PrometheusReader::query_range(std::string_view promql, std::chrono::system_clock::time_point from,
                                          std::chrono::system_clock::time_point to, std::chrono::seconds step,
                                          std::chrono::milliseconds timeout) {
  const auto unix_seconds = [](std::chrono::system_clock::time_point at) {
    return std::chrono::duration_cast<std::chrono::seconds>(at.time_since_epoch()).count();
  };
  auto answer =
      ask("query_range", promql,
          absl::StrCat("&start=", unix_seconds(from), "&end=", unix_seconds(to), "&step=", step.count()), timeout);
  RangeResult result;
  if (const auto* response = std::get_if<http::Response>(&answer)) {
    result = parse_range_response(response->status, response->body);
  } else {
    QueryResult error = std::get<QueryResult>(std::move(answer));
    result = {SignalState::error, {}, std::move(error.reason), std::move(error.message)};
  }
  count(result.state, result.reason);
  return result;
}

void PrometheusReader::count(SignalState state, const std::string& reason) {
  if (state == SignalState::error) metrics_.counter(kErrors, kErrorsHelp, {{"reason", reason}}).add();
}

std::variant<http::Response, QueryResult> PrometheusReader::ask(std::string_view endpoint, std::string_view promql,
                                                                std::string_view parameters,
                                                                std::chrono::milliseconds timeout) {
  if (options_.url.empty()) return QueryResult::error("connect", "no Prometheus is configured");
  try {
    DeadlineScope scope(std::chrono::steady_clock::now() + timeout);
    const std::string body =
        absl::StrCat("query=", form_encode(promql), "&timeout=", timeout.count(), "ms", std::string(parameters));
    return client_.post(absl::StrCat(options_.url, "/api/v1/", std::string(endpoint)), body, form_headers());
  } catch (const DeadlineExceeded&) {
    return QueryResult::error("timeout", absl::StrCat("no answer within ", timeout.count(), " ms"));
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
