#include "controller/signals/history_reader.h"

#include <cstdint>

#include "absl/strings/str_cat.h"

namespace penstock::controller {

namespace {

using std::chrono::hours;
using std::chrono::system_clock;

// Calls that no policy names.
constexpr const char* kUnnamed = "other";

std::string hourly(const char* label, const char* metric, const char* selector) {
  return absl::StrCat("sum by (service, ", label, ") (rate(", metric, "{service!=\"\",node!=\"\"", selector, "}[1h]))");
}

// calls visit(service and name, when the hour began, value) for the hours from `from` to `to`; a time that was not
// asked for is no hour.
template <class Visit>
void each(const RangeResult& result, const char* label, system_clock::time_point from, system_clock::time_point to,
          Visit visit) {
  const auto seconds_of = [](system_clock::time_point at) {
    return std::chrono::duration<double>(at.time_since_epoch()).count();
  };
  for (const Series& series : result.series) {
    const auto service = series.labels.find("service");
    const auto name = series.labels.find(label);
    if (service == series.labels.end() || name == series.labels.end() || name->second.empty()) continue;
    // A rate over an hour belongs to the hour before.
    for (const auto& [at, value] : series.points) {
      if (at < seconds_of(from + hours(1)) || at > seconds_of(to)) continue;
      visit(std::pair(service->second, name->second),
            system_clock::time_point(std::chrono::seconds(static_cast<std::int64_t>(at))) - hours(1), value);
    }
  }
}

}  // namespace

History HistoryReader::read(system_clock::time_point from, system_clock::time_point to) {
  History history;
  const auto ask = [&](const std::string& query) {
    if (!history.error.empty()) return RangeResult{};
    RangeResult result = prometheus_.query_range(query, from + hours(1), to, hours(1), kTimeout);
    if (result.state == SignalState::error) history.error = result.reason + ": " + result.message;
    return result;
  };
  const RangeResult answers = ask(hourly("upstream", "penstock_upstream_requests_total", ",outcome=\"ok\""));
  const RangeResult busy = ask(hourly("upstream", "penstock_upstream_ok_seconds_total", ""));
  const RangeResult requests = ask(hourly("pool", "penstock_pool_requests_total", ""));
  if (!history.error.empty()) return history;

  std::map<std::pair<std::string, std::string>, std::map<system_clock::time_point, double>> seconds;
  each(busy, "upstream", from, to, [&](const auto& key, auto began, double value) { seconds[key][began] = value; });
  each(answers, "upstream", from, to, [&](const auto& key, auto began, double rate) {
    if (key.second == kUnnamed || rate * 3600 < kFewestAnswers) return;
    const auto of = seconds.find(key);
    if (of == seconds.end()) return;
    const auto spent = of->second.find(began);
    if (spent != of->second.end() && spent->second > 0)
      history.upstreams[key].push_back({began, rate, spent->second / rate});
  });
  each(requests, "pool", from, to, [&](const auto& key, auto began, double rate) {
    history.pools[key].push_back({began, rate});
  });
  return history;
}

}  // namespace penstock::controller
