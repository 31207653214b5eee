#include "controller/signals/query_result.h"

#include <boost/json.hpp>
#include <cmath>
#include <utility>
#include <variant>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"

namespace penstock::controller {

namespace {

namespace json = boost::json;

constexpr std::size_t kQuotedBytes = 120;

// What arrived, shortened and with nothing in it that could break a line of the log.
std::string quote(std::string_view text) {
  std::string out(text.substr(0, kQuotedBytes));
  for (char& c : out) {
    if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7f) c = '?';
  }
  if (text.size() > kQuotedBytes) out += "...";
  return out;
}

std::string_view text_of(const json::object& object, std::string_view key) {
  const json::value* value = object.if_contains(key);
  if (value == nullptr || !value->is_string()) return {};
  return {value->get_string().data(), value->get_string().size()};
}

bool read_labels(const json::object& object, std::map<std::string, std::string>& out) {
  const json::value* metric = object.if_contains("metric");
  if (metric == nullptr || !metric->is_object()) return false;
  for (const auto& [name, label] : metric->get_object()) {
    if (!label.is_string()) return false;
    out.emplace(std::string(name), std::string(label.get_string()));
  }
  return true;
}

// A time and a number.
bool read_point(const json::value& value, std::pair<double, double>& out) {
  const json::array* pair = value.if_array();
  if (pair == nullptr || pair->size() != 2 || !(*pair)[0].is_number() || !(*pair)[1].is_string()) return false;
  const auto& number = (*pair)[1].get_string();
  out.first = (*pair)[0].to_number<double>();
  return absl::SimpleAtod({number.data(), number.size()}, &out.second);
}

// False when the element is not a sample of a vector.
bool read_sample(const json::value& element, Sample& out) {
  const json::object* object = element.if_object();
  if (object == nullptr || !read_labels(*object, out.labels)) return false;
  const json::value* value = object->if_contains("value");
  std::pair<double, double> point;
  if (value == nullptr || !read_point(*value, point)) return false;
  out.value = point.second;
  return true;
}

// False when the element is not a series of a matrix.
bool read_series(const json::value& element, Series& out) {
  const json::object* object = element.if_object();
  if (object == nullptr || !read_labels(*object, out.labels)) return false;
  const json::value* values = object->if_contains("values");
  if (values == nullptr || !values->is_array()) return false;
  for (const json::value& value : values->get_array()) {
    std::pair<double, double> point;
    if (!read_point(value, point)) return false;
    if (std::isfinite(point.second)) out.points.push_back(point);
  }
  return true;
}

// The elements of a vector or a matrix; an error when there are none because something else arrived.
std::variant<json::array, QueryResult> read_elements(int status, std::string_view body, std::string_view type) {
  boost::system::error_code failure;
  json::value document = json::parse({body.data(), body.size()}, failure);
  if (failure) {
    if (status != 200) return QueryResult::error("status", absl::StrCat("HTTP ", status, ": ", quote(body)));
    return QueryResult::error("json", absl::StrCat(failure.message(), ": ", quote(body)));
  }
  json::object* object = document.if_object();
  if (object == nullptr) return QueryResult::error("shape", "not an object: " + quote(body));
  const std::string_view outcome = text_of(*object, "status");
  if (outcome == "error") {
    const std::string_view kind = text_of(*object, "errorType");
    return QueryResult::error(kind == "timeout" ? "timeout" : "query",
                              quote(std::string(kind) + ": " + std::string(text_of(*object, "error"))));
  }
  if (status != 200) return QueryResult::error("status", absl::StrCat("HTTP ", status, ": ", quote(body)));
  if (outcome != "success") return QueryResult::error("shape", "no status: " + quote(body));
  json::value* data = object->if_contains("data");
  if (data == nullptr || !data->is_object()) return QueryResult::error("shape", "no data: " + quote(body));
  if (text_of(data->get_object(), "resultType") != type) {
    return QueryResult::error("shape", absl::StrCat("not a ", std::string(type), ": ", quote(body)));
  }
  json::value* list = data->get_object().if_contains("result");
  if (list == nullptr || !list->is_array()) return QueryResult::error("shape", "no result: " + quote(body));
  return std::move(list->get_array());
}

}  // namespace

std::string_view to_string(SignalState state) {
  switch (state) {
    case SignalState::value:
      return "value";
    case SignalState::nan:
      return "nan";
    case SignalState::empty:
      return "empty";
    case SignalState::error:
      return "error";
  }
  return "error";
}

QueryResult QueryResult::error(std::string reason, std::string message) {
  QueryResult result;
  result.state = SignalState::error;
  result.reason = std::move(reason);
  result.message = std::move(message);
  return result;
}

QueryResult parse_query_response(int status, std::string_view body) {
  auto read = read_elements(status, body, "vector");
  if (auto* error = std::get_if<QueryResult>(&read)) return std::move(*error);
  const json::array& elements = std::get<json::array>(read);
  QueryResult result;
  for (const json::value& element : elements) {
    Sample sample;
    if (!read_sample(element, sample)) return QueryResult::error("shape", "not a sample: " + quote(body));
    if (std::isfinite(sample.value)) result.samples.push_back(std::move(sample));
  }
  if (!result.samples.empty()) {
    result.state = SignalState::value;
  } else if (!elements.empty()) {
    result.state = SignalState::nan;
  }
  return result;
}

RangeResult parse_range_response(int status, std::string_view body) {
  RangeResult result;
  const auto fail = [&](QueryResult error) {
    result.state = SignalState::error;
    result.series.clear();
    result.reason = std::move(error.reason);
    result.message = std::move(error.message);
    return result;
  };
  auto read = read_elements(status, body, "matrix");
  if (auto* error = std::get_if<QueryResult>(&read)) return fail(std::move(*error));
  const json::array& elements = std::get<json::array>(read);
  for (const json::value& element : elements) {
    Series series;
    if (!read_series(element, series)) return fail(QueryResult::error("shape", "not a series: " + quote(body)));
    if (!series.points.empty()) result.series.push_back(std::move(series));
  }
  if (!result.series.empty()) {
    result.state = SignalState::value;
  } else if (!elements.empty()) {
    result.state = SignalState::nan;
  }
  return result;
}

}  // namespace penstock::controller
