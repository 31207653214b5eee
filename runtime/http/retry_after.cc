#include "runtime/http/retry_after.h"

#include <time.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cstdint>
#include <string>

namespace penstock::http {
namespace {

// Longer than any caller waits; and no sum with a clock overflows.
constexpr std::int64_t kLongest = 7 * 24 * 3600;

}  // namespace

std::optional<decision::Duration> retry_after(const Response& response) {
  const std::string_view given = response.header("Retry-After");
  if (given.empty()) return std::nullopt;
  std::int64_t seconds = 0;
  const auto [end, error] = std::from_chars(given.data(), given.data() + given.size(), seconds);
  if (error == std::errc::result_out_of_range && given.front() != '-') return std::chrono::seconds(kLongest);
  if (error == std::errc() && seconds < 0) return std::nullopt;
  if (error != std::errc() || end != given.data() + given.size()) {
    tm date{};
    const std::string text(given);
    const char* rest = ::strptime(text.c_str(), "%a, %d %b %Y %H:%M:%S GMT", &date);
    if (rest == nullptr || *rest != '\0') return std::nullopt;
    seconds = ::timegm(&date) - ::time(nullptr);
  }
  return std::chrono::seconds(std::clamp<std::int64_t>(seconds, 0, kLongest));
}

}  // namespace penstock::http
