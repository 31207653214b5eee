#pragma once

#include <charconv>
#include <concepts>
#include <string>
#include <string_view>
#include <type_traits>

// Text made of parts. Debian's abseil has a string_view of its own, which its functions take instead of std's.
namespace penstock::policy {

inline void append_part(std::string& out, std::string_view part) { out += part; }
template <typename Number>
requires std::is_arithmetic_v<Number>
void append_part(std::string& out, Number part) {
  if constexpr (std::same_as<Number, char>) {
    out += part;
  } else {
    // The shortest digits that read back to the same number.
    char buffer[32];
    out.append(buffer, std::to_chars(buffer, buffer + sizeof buffer, part).ptr);
  }
}

template <typename... Parts>
void append(std::string& out, const Parts&... parts) {
  (append_part(out, parts), ...);
}
template <typename... Parts>
std::string cat(const Parts&... parts) {
  std::string out;
  append(out, parts...);
  return out;
}

// Unset unless all of `text` is one number of the type's range.
template <typename Number>
bool parse_number(std::string_view text, Number& value) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size();
}

inline std::string lower_case(std::string_view text) {
  std::string lower(text);
  for (char& c : lower)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return lower;
}

}  // namespace penstock::policy
