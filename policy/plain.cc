#include "policy/plain.h"

#include "absl/strings/ascii.h"
#include "policy/text.h"

namespace penstock::policy {
namespace {

std::size_t digits(std::string_view text, std::size_t from) {
  while (from < text.size() && absl::ascii_isdigit(static_cast<unsigned char>(text[from]))) ++from;
  return from;
}

std::size_t after_sign(std::string_view text) { return !text.empty() && (text[0] == '-' || text[0] == '+') ? 1 : 0; }

}  // namespace

bool is_whole(std::string_view text) {
  const std::size_t from = !text.empty() && text[0] == '-' ? 1 : 0;
  return from < text.size() && digits(text, from) == text.size();
}

bool is_number(std::string_view text) {
  std::size_t at = after_sign(text);
  const std::string_view magnitude = text.substr(at);
  if (lower_case(magnitude) == ".inf" || lower_case(text) == ".nan") return true;
  if (magnitude.starts_with("0x") || magnitude.starts_with("0o")) {
    for (const char c : magnitude.substr(2))
      if (!absl::ascii_isxdigit(static_cast<unsigned char>(c))) return false;
    return magnitude.size() > 2;
  }
  const std::size_t whole_end = digits(text, at);
  std::size_t count = whole_end - at;
  at = whole_end;
  if (at < text.size() && text[at] == '.') {
    const std::size_t end = digits(text, at + 1);
    count += end - at - 1;
    at = end;
  }
  if (count == 0) return false;
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    std::size_t from = at + 1;
    if (from < text.size() && (text[from] == '-' || text[from] == '+')) ++from;
    at = digits(text, from);
    if (at == from) return false;
  }
  return at == text.size();
}

bool is_boolean(std::string_view text) {
  for (const std::string_view word : {"true", "false", "yes", "no", "on", "off"})
    if (lower_case(text) == word) return true;
  return false;
}

}  // namespace penstock::policy
