#include "runtime/http/request_timeout.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <string>

#include "penstock/http_exchange.h"

namespace penstock::http {
namespace {

constexpr std::size_t kDigits = 8;

bool all_digits(std::string_view text) noexcept {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

std::optional<Duration> parse_request_timeout(std::string_view value) noexcept {
  double seconds_per_unit = 1;
  if (value.ends_with("ms")) {
    seconds_per_unit = 1e-3;
    value.remove_suffix(2);
  } else if (value.ends_with('s')) {
    value.remove_suffix(1);
  } else if (value.ends_with('m')) {
    seconds_per_unit = 60;
    value.remove_suffix(1);
  }
  const auto point = value.find('.');
  const std::string_view whole = value.substr(0, point);
  const std::string_view fraction = point == value.npos ? std::string_view() : value.substr(point + 1);
  if (!all_digits(whole) || (point != value.npos && !all_digits(fraction))) return std::nullopt;
  if (whole.size() + fraction.size() > kDigits) return std::nullopt;
  double number = 0;
  if (std::from_chars(value.data(), value.data() + value.size(), number).ec != std::errc()) return std::nullopt;
  const Duration timeout(static_cast<Duration::rep>(std::llround(number * seconds_per_unit * 1e9)));
  return timeout > Duration::zero() ? std::optional(timeout) : std::nullopt;
}

std::optional<Duration> parse_grpc_timeout(std::string_view value) noexcept {
  if (value.size() < 2 || value.size() > kDigits + 1) return std::nullopt;
  std::int64_t nanoseconds = 0;
  switch (value.back()) {
    case 'H':
      nanoseconds = 3'600'000'000'000;
      break;
    case 'M':
      nanoseconds = 60'000'000'000;
      break;
    case 'S':
      nanoseconds = 1'000'000'000;
      break;
    case 'm':
      nanoseconds = 1'000'000;
      break;
    case 'u':
      nanoseconds = 1'000;
      break;
    case 'n':
      nanoseconds = 1;
      break;
    default:
      return std::nullopt;
  }
  value.remove_suffix(1);
  if (!all_digits(value)) return std::nullopt;
  std::int64_t number = 0;
  std::from_chars(value.data(), value.data() + value.size(), number);
  // Eight digits of hours are more than the clock can count: no bound that matters.
  const std::int64_t most = std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::hours(24 * 365)).count();
  if (number == 0) return std::nullopt;
  return Duration(number > most / nanoseconds ? most : number * nanoseconds);
}

std::optional<Duration> request_timeout(const RequestHead& head) {
  std::optional<Duration> timeout;
  const auto take = [&](const char* name, auto parse) {
    const std::string_view value = head.find(name);
    if (value.data() == nullptr) return;
    const std::optional<Duration> said = parse(value);
    if (!said) throw RequestError(400, std::string("malformed ") + name);
    timeout = timeout ? std::min(*timeout, *said) : *said;
  };
  take("X-Request-Timeout", parse_request_timeout);
  take("grpc-timeout", parse_grpc_timeout);
  return timeout;
}

}  // namespace penstock::http
