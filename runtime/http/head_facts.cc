#include "runtime/http/head_facts.h"

#include <limits>

#include "runtime/http/head_scanner.h"

namespace penstock::http {
namespace {

// Takes the next member off a comma-separated list, without the blanks around it.
std::string_view take_member(std::string_view& list) noexcept {
  const std::size_t comma = list.find(',');
  std::string_view member = list.substr(0, comma);
  list = comma == list.npos ? std::string_view() : list.substr(comma + 1);
  while (!member.empty() && is_blank(member.front())) member.remove_prefix(1);
  while (!member.empty() && is_blank(member.back())) member.remove_suffix(1);
  return member;
}

bool parse_length(std::string_view digits, std::uint64_t& length) noexcept {
  constexpr std::uint64_t kMost = std::numeric_limits<std::uint64_t>::max();
  if (digits.empty()) return false;
  length = 0;
  for (const char c : digits) {
    if (c < '0' || c > '9') return false;
    const auto digit = static_cast<std::uint64_t>(c - '0');
    if (length > (kMost - digit) / 10) return false;
    length = 10 * length + digit;
  }
  return true;
}

}  // namespace

ParseError HeadFacts::take_connection(std::string_view value) noexcept {
  while (!value.empty()) {
    const std::string_view member = take_member(value);
    if (!member.empty() && !is_token(member)) return ParseError::connection;
    if (same_token(member, "close")) says_close = true;
    if (same_token(member, "keep-alive")) says_keep_alive = true;
  }
  return ParseError::none;
}

// RFC 9110, 8.6: the same length may be said more than once.
ParseError HeadFacts::take_length(std::string_view value) noexcept {
  if (encoded) return ParseError::length_and_encoding;
  if (!has_length && parse_length(value, length)) {
    has_length = true;
    return ParseError::none;
  }
  // After the last comma there is a member, too.
  for (bool more = true; more;) {
    more = value.find(',') != value.npos;
    std::uint64_t said;
    if (!parse_length(take_member(value), said)) return ParseError::length;
    if (has_length && said != length) return ParseError::lengths;
    length = said;
    has_length = true;
  }
  return ParseError::none;
}

ParseError HeadFacts::take_encoding(std::string_view value) noexcept {
  if (has_length) return ParseError::length_and_encoding;
  if (chunked) return ParseError::encoding;
  encoded = true;
  while (!value.empty()) {
    const std::string_view member = take_member(value);
    if (member.empty()) continue;
    // A coding may have parameters.
    std::size_t at = 0;
    while (at < member.size() && is_kind(member[at], kTokenByte)) ++at;
    const std::string_view name = member.substr(0, at);
    while (at < member.size() && is_blank(member[at])) ++at;
    const bool plain = at == member.size();
    if (chunked || name.empty() || (!plain && member[at] != ';')) return ParseError::encoding;
    chunked = same_token(name, "chunked");
    if (chunked && !plain) return ParseError::encoding;
  }
  return ParseError::none;
}

}  // namespace penstock::http
