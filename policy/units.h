#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

// How durations and sizes are written in policies and on the command line.
namespace penstock::policy {

// A number and one unit of ns, us, ms, s, m, h: "250ms", "1.5s", "10m". Never negative, never without a unit.
absl::StatusOr<std::chrono::nanoseconds> parse_duration(std::string_view text);
// A whole number of bytes, or of KiB, MiB, GiB, TiB: "1048576", "512MiB".
absl::StatusOr<std::int64_t> parse_bytes(std::string_view text);

// What the parsers above read back to the same value, in the largest unit that it is one of, or of which it is a whole
// number: "1.5s", "90m"; a negative duration has a "-" before it.
std::string format_duration(std::chrono::nanoseconds value);
std::string format_bytes(std::int64_t value);

// For people: three digits, "1.23s", "45.6ms", "2h5m".
std::string round_duration(std::chrono::nanoseconds value);

}  // namespace penstock::policy
