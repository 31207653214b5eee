#pragma once

#include <string>
#include <string_view>

// What comes from outside may be any bytes; JSON and the text of metrics are UTF-8.
namespace penstock::telemetry {

bool is_utf8(std::string_view text) noexcept;
// With U+FFFD for each byte that belongs to no character.
std::string as_utf8(std::string_view text);

}  // namespace penstock::telemetry
