#pragma once

#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

// The answer of Prometheus to a query.
namespace penstock::controller {

// Only `value` moves a decision; the others hold the last one.
enum class SignalState { value, nan, empty, error };
std::string_view to_string(SignalState state);

struct Sample {
  std::map<std::string, std::string> labels;
  double value = 0;
};

struct QueryResult {
  // value: at least one finite sample. nan: samples, but none of them finite. empty: no samples.
  SignalState state = SignalState::empty;
  // The finite ones.
  std::vector<Sample> samples;
  // Of an error, one word for the metric: "connect", "timeout", "rejected", "status", "query", "json", "shape".
  std::string reason;
  // Of an error, the sentence.
  std::string message;

  static QueryResult error(std::string reason, std::string message);
};

// Never throws: whatever arrives becomes one of the four states.
QueryResult parse_query_response(int status, std::string_view body);

// The same of a range query.
struct Series {
  std::map<std::string, std::string> labels;
  // Seconds since the Unix epoch, and the value; the finite ones.
  std::vector<std::pair<double, double>> points;
};
struct RangeResult {
  // value: at least one point.
  SignalState state = SignalState::empty;
  std::vector<Series> series;
  // Of an error, as in QueryResult.
  std::string reason;
  std::string message;
};
RangeResult parse_range_response(int status, std::string_view body);

}  // namespace penstock::controller
