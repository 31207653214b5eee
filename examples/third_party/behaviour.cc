#include "examples/third_party/behaviour.h"

#include <array>
#include <boost/json.hpp>
#include <charconv>
#include <cmath>
#include <stdexcept>

namespace third_party {
namespace {

namespace json = boost::json;

[[noreturn]] void refuse(std::string_view member, std::string_view what) {
  throw std::invalid_argument(std::string(member).append(": ").append(what));
}

double number(std::string_view member, const json::value& value, double low, double high) {
  if (!value.is_number()) refuse(member, "not a number");
  const double result = value.to_number<double>();
  if (!(result >= low && result <= high)) {
    refuse(member, "not between " + std::to_string(low) + " and " + std::to_string(high));
  }
  return result;
}

int integer(std::string_view member, const json::value& value, int low, int high) {
  const double result = number(member, value, low, high);
  if (result != std::floor(result)) refuse(member, "not an integer");
  return static_cast<int>(result);
}

template <class T>
std::string text(T value) {
  std::array<char, 32> digits;
  return {digits.data(), std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr};
}

template <class T>
std::string text(const std::optional<T>& value) {
  return value ? text(*value) : "null";
}

}  // namespace

Behaviour parse_behaviour(std::string_view text) {
  json::error_code error;
  const json::value value = json::parse(json::string_view(text.data(), text.size()), error);
  if (error) throw std::invalid_argument("not JSON: " + error.message());
  if (!value.is_object()) throw std::invalid_argument("not a JSON object");
  Behaviour result;
  for (const auto& [key, member] : value.get_object()) {
    const std::string_view name(key.data(), key.size());
    if (name == "latency_median_ms") {
      result.latency_median_ms = number(name, member, 0, 3'600'000);
    } else if (name == "latency_sigma") {
      result.latency_sigma = number(name, member, 0, 10);
    } else if (name == "error_ratio") {
      result.error_ratio = number(name, member, 0, 1);
    } else if (name == "capacity") {
      if (!member.is_null()) result.capacity = integer(name, member, 1, 1'000'000);
    } else if (name == "collapse_above") {
      if (!member.is_null()) result.collapse_above = integer(name, member, 1, 1'000'000);
    } else if (name == "max_rate") {
      if (!member.is_null()) result.max_rate = number(name, member, 0, 1'000'000);
    } else if (name == "retry_after_s") {
      result.retry_after_s = integer(name, member, 0, 3600);
    } else if (name == "blackhole") {
      if (!member.is_bool()) refuse(name, "not true or false");
      result.blackhole = member.get_bool();
    } else {
      refuse(name, "unknown member");
    }
  }
  return result;
}

// By hand, because Boost.JSON writes 50.0 as 5E1.
std::string to_json(const Behaviour& behaviour) {
  return "{\"latency_median_ms\":" + text(behaviour.latency_median_ms) +
         ",\"latency_sigma\":" + text(behaviour.latency_sigma) + ",\"error_ratio\":" + text(behaviour.error_ratio) +
         ",\"capacity\":" + text(behaviour.capacity) + ",\"collapse_above\":" + text(behaviour.collapse_above) +
         ",\"max_rate\":" + text(behaviour.max_rate) + ",\"retry_after_s\":" + text(behaviour.retry_after_s) +
         ",\"blackhole\":" + (behaviour.blackhole ? "true" : "false") + "}";
}

}  // namespace third_party
