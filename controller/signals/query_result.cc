#include "controller/signals/query_result.h"

#include <boost/json.hpp>
#include <cmath>
#include <utility>

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

// False when the element is not a sample of a vector.
bool read_sample(const json::value& element, Sample& out) {
  const json::object* object = element.if_object();
  if (object == nullptr) return false;
  const json::value* metric = object->if_contains("metric");
  const json::value* value = object->if_contains("value");
  if (metric == nullptr || !metric->is_object() || value == nullptr || !value->is_array()) return false;
  for (const auto& [name, label] : metric->get_object()) {
    if (!label.is_string()) return false;
    out.labels.emplace(std::string(name), std::string(label.get_string()));
  }
  const json::array& pair = value->get_array();
  if (pair.size() != 2 || !pair[0].is_number() || !pair[1].is_string()) return false;
  const auto& number = pair[1].get_string();
  return absl::SimpleAtod({number.data(), number.size()}, &out.value);
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
  boost::system::error_code failure;
  const json::value document = json::parse({body.data(), body.size()}, failure);
  if (failure) {
    if (status != 200) return QueryResult::error("status", absl::StrCat("HTTP ", status, ": ", quote(body)));
    return QueryResult::error("json", absl::StrCat(failure.message(), ": ", quote(body)));
  }
  const json::object* object = document.if_object();
  if (object == nullptr) return QueryResult::error("shape", "not an object: " + quote(body));
  const std::string_view outcome = text_of(*object, "status");
  if (outcome == "error") {
    const std::string_view type = text_of(*object, "errorType");
    return QueryResult::error(type == "timeout" ? "timeout" : "query",
                              quote(std::string(type) + ": " + std::string(text_of(*object, "error"))));
  }
  if (status != 200) return QueryResult::error("status", absl::StrCat("HTTP ", status, ": ", quote(body)));
  if (outcome != "success") return QueryResult::error("shape", "no status: " + quote(body));
  const json::value* data = object->if_contains("data");
  if (data == nullptr || !data->is_object()) return QueryResult::error("shape", "no data: " + quote(body));
  if (text_of(data->get_object(), "resultType") != "vector") {
    return QueryResult::error("shape", "not a vector: " + quote(body));
  }
  const json::value* list = data->get_object().if_contains("result");
  if (list == nullptr || !list->is_array()) return QueryResult::error("shape", "no result: " + quote(body));

  QueryResult result;
  for (const json::value& element : list->get_array()) {
    Sample sample;
    if (!read_sample(element, sample)) return QueryResult::error("shape", "not a sample: " + quote(body));
    if (std::isfinite(sample.value)) result.samples.push_back(std::move(sample));
  }
  if (!result.samples.empty()) {
    result.state = SignalState::value;
  } else if (!list->get_array().empty()) {
    result.state = SignalState::nan;
  }
  return result;
}

}  // namespace penstock::controller
