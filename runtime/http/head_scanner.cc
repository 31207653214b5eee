#include "runtime/http/head_scanner.h"

#include <algorithm>

namespace penstock::http {
namespace {

bool is_digit(char c) noexcept { return c >= '0' && c <= '9'; }

// "HTTP/1.0" or "HTTP/1.1". What cannot become it any more is wrong at once.
ParseError scan_version(const char*& at, const char* end, bool& http11) noexcept {
  constexpr std::string_view kProtocol = "HTTP/1.";
  const std::size_t there = std::min(static_cast<std::size_t>(end - at), kProtocol.size());
  if (std::memcmp(at, kProtocol.data(), there) != 0) return ParseError::version;
  const char* minor = at + there;
  if (minor == end) return ParseError::need_more;
  if (*minor != '0' && *minor != '1') return ParseError::version;
  http11 = *minor == '1';
  at = minor + 1;
  return ParseError::none;
}

ParseError scan_line_end(const char*& at, const char* end, ParseError other) noexcept {
  if (at == end) return ParseError::need_more;
  if (*at != '\r') return other;
  if (end - at < 2) return ParseError::need_more;
  if (at[1] != '\n') return ParseError::line_end;
  at += 2;
  return ParseError::none;
}

}  // namespace

ParseError scan_request_line(const char*& at, const char* end, RequestLine& line) noexcept {
  const char* p = skip<kTokenByte>(at, end);
  if (p == end) return ParseError::need_more;
  if (*p != ' ' || p == at) return ParseError::method;
  line.method = {at, static_cast<std::size_t>(p - at)};
  const char* target = ++p;
  p = skip<kTargetByte>(p, end);
  if (p == end) return ParseError::need_more;
  if (*p != ' ' || p == target) return ParseError::target;
  line.target = {target, static_cast<std::size_t>(p - target)};
  ++p;
  ParseError error = scan_version(p, end, line.http11);
  if (error == ParseError::none) error = scan_line_end(p, end, ParseError::version);
  if (error == ParseError::none) at = p;
  return error;
}

// The space before an empty reason is often left out.
ParseError scan_status_line(const char*& at, const char* end, StatusLine& line) noexcept {
  const char* p = at;
  if (const ParseError error = scan_version(p, end, line.http11); error != ParseError::none) return error;
  if (p == end) return ParseError::need_more;
  if (*p != ' ') return ParseError::version;
  int status = 0;
  for (int digit = 0; digit < 3; ++digit) {
    if (++p == end) return ParseError::need_more;
    if (!is_digit(*p)) return ParseError::status;
    status = 10 * status + (*p - '0');
  }
  if (status < 100) return ParseError::status;
  if (++p == end) return ParseError::need_more;
  if (*p != ' ' && *p != '\r') return ParseError::status;
  p = skip_text(p, end);
  const ParseError error = scan_line_end(p, end, ParseError::reason);
  if (error != ParseError::none) return error;
  line.status = status;
  at = p;
  return ParseError::none;
}

ParseError unfold(const char*& at, const char* end, std::string& value) {
  const char* p = at;
  do {
    while (p != end && is_blank(*p)) ++p;
    const char* first = p;
    p = skip_text(p, end);
    if (p == end) return ParseError::need_more;
    if (*p != '\r') return ParseError::field_value;
    if (end - p < 3) return ParseError::need_more;
    if (p[1] != '\n') return ParseError::line_end;
    const char* last = p;
    while (last != first && is_blank(last[-1])) --last;
    if (last != first) {
      if (!value.empty()) value += ' ';
      value.append(first, last);
    }
    p += 2;
  } while (is_blank(*p));
  at = p;
  return ParseError::none;
}

}  // namespace penstock::http
