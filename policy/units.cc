#include "policy/units.h"
#include "policy/text.h"

#include <array>
#include <cstdio>
#include <cstdlib>
#include <limits>

namespace penstock::policy {
namespace {

using std::chrono::nanoseconds;

constexpr std::int64_t kSecond = 1'000'000'000;

struct TimeUnit {
  std::string_view name;
  std::int64_t nanoseconds;
};
// Largest first.
constexpr std::array<TimeUnit, 6> kTimeUnits{{{"h", 3'600'000'000'000},
                                              {"m", 60'000'000'000},
                                              {"s", kSecond},
                                              {"ms", 1'000'000},
                                              {"us", 1'000},
                                              {"ns", 1}}};

struct SizeUnit {
  std::string_view name;
  int shift;
};
constexpr std::array<SizeUnit, 4> kSizeUnits{{{"TiB", 40}, {"GiB", 30}, {"MiB", 20}, {"KiB", 10}}};

bool is_digit(char c) { return c >= '0' && c <= '9'; }

absl::Status not_a_duration(std::string_view text) {
  return absl::InvalidArgumentError(
      cat("\"", text.substr(0, 40), "\" is not a duration (write a number and one of ns, us, ms, s, m, h: 250ms)"));
}

}  // namespace

absl::StatusOr<nanoseconds> parse_duration(std::string_view text) {
  std::size_t at = 0;
  while (at < text.size() && is_digit(text[at])) ++at;
  const std::string_view whole = text.substr(0, at);
  std::string_view fraction;
  if (at < text.size() && text[at] == '.') {
    const std::size_t from = ++at;
    while (at < text.size() && is_digit(text[at])) ++at;
    fraction = text.substr(from, at - from);
    if (fraction.empty()) return not_a_duration(text);
  }
  if (whole.empty() || whole.size() > 18 || fraction.size() > 9) return not_a_duration(text);
  for (const TimeUnit& unit : kTimeUnits) {
    if (text.substr(at) != unit.name) continue;
    std::int64_t number = 0;
    if (!parse_number(whole, number)) return not_a_duration(text);
    if (number > std::numeric_limits<std::int64_t>::max() / unit.nanoseconds - 1)
      return absl::InvalidArgumentError(cat("\"", text, "\" is longer than 292 years"));
    std::int64_t total = number * unit.nanoseconds;
    std::int64_t place = unit.nanoseconds;
    for (std::size_t i = 0; i < fraction.size(); ++i) {
      const int digit = fraction[i] - '0';
      if (digit != 0 && (place == 0 || place % 10 != 0)) {
        return absl::InvalidArgumentError(cat("\"", text, "\" is finer than a nanosecond"));
      }
      place /= 10;
      total += digit * place;
    }
    return nanoseconds(total);
  }
  return not_a_duration(text);
}

absl::StatusOr<std::int64_t> parse_bytes(std::string_view text) {
  std::string_view digits = text;
  int shift = 0;
  for (const SizeUnit& unit : kSizeUnits)
    if (text.ends_with(unit.name)) {
      digits = text.substr(0, text.size() - unit.name.size());
      shift = unit.shift;
    }
  std::int64_t number = 0;
  bool all_digits = !digits.empty() && digits.size() <= 19;
  for (const char c : digits) all_digits = all_digits && is_digit(c);
  if (!all_digits || !parse_number(digits, number)) {
    return absl::InvalidArgumentError(
        cat("\"", text.substr(0, 40),
            "\" is not a size (write whole bytes, or a whole number and one of KiB, MiB, GiB, TiB: 512MiB)"));
  }
  if (number > (std::numeric_limits<std::int64_t>::max() >> shift))
    return absl::InvalidArgumentError(cat("\"", text, "\" is more than 64 bits can hold"));
  return number << shift;
}

std::string format_duration(nanoseconds value) {
  const std::int64_t count = value.count();
  if (count == 0) return "0s";
  for (const TimeUnit& unit : kTimeUnits) {
    const std::int64_t whole = count / unit.nanoseconds;
    std::int64_t rest = count % unit.nanoseconds;
    if (rest == 0) return cat(whole, unit.name);
    // What is left of an hour or a minute is no decimal fraction.
    if (whole == 0 || unit.nanoseconds > kSecond) continue;
    std::string text = cat(whole, ".");
    for (std::int64_t place = unit.nanoseconds / 10; rest != 0; place /= 10) {
      text += static_cast<char>('0' + std::abs(rest / place));
      rest %= place;
    }
    return text += unit.name;
  }
  return cat(count, "ns");
}

std::string format_bytes(std::int64_t value) {
  if (value == 0) return "0";
  for (const SizeUnit& unit : kSizeUnits)
    if (value % (std::int64_t{1} << unit.shift) == 0) return cat(value >> unit.shift, unit.name);
  return cat(value);
}

std::string round_duration(nanoseconds value) {
  const bool negative = value.count() < 0;
  const double seconds = std::abs(std::chrono::duration<double>(value).count());
  const auto whole = static_cast<std::int64_t>(seconds);
  std::string text;
  if (seconds >= 86400) {
    text = cat(whole / 86400, "d", whole / 3600 % 24, "h");
  } else if (seconds >= 3600) {
    text = cat(whole / 3600, "h", whole / 60 % 60, "m");
  } else if (seconds >= 100) {
    text = cat(whole / 60, "m", whole % 60, "s");
  } else {
    double number = seconds;
    const char* unit = "s";
    if (seconds == 0) {
      return "0s";
    } else if (seconds < 0.9995e-6) {
      number = seconds * 1e9;
      unit = "ns";
    } else if (seconds < 0.9995e-3) {
      number = seconds * 1e6;
      unit = "us";
    } else if (seconds < 0.9995) {
      number = seconds * 1e3;
      unit = "ms";
    }
    char buffer[32];
    std::snprintf(buffer, sizeof buffer, "%.3g%s", number, unit);
    text = buffer;
  }
  return negative ? "-" + text : text;
}

}  // namespace penstock::policy
