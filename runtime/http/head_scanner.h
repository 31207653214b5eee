#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#if defined(__SSE2__)
#include <emmintrin.h>

#include <bit>
#endif

#include "runtime/http/parse_error.h"

// The lines of a message's head (RFC 9112, 2 to 5), found where they lie. All of them move `at` behind what they found;
// need_more: there is more to come before `end`.
namespace penstock::http {

enum ByteKind : std::uint8_t {
  kTokenByte = 1,   // RFC 9110, 5.6.2
  kTargetByte = 2,  // anything that shows
  kTextByte = 4,    // the same, space and tab
  kHostByte = 8,    // RFC 3986, 3.2.2 and 3.2.3
};

inline constexpr std::array<std::uint8_t, 256> kByteKinds = [] {
  std::array<std::uint8_t, 256> kinds{};
  for (std::size_t c = 0x21; c < 0x100; ++c) kinds[c] = c == 0x7f ? 0 : kTargetByte | kTextByte;
  kinds[' '] = kinds['\t'] = kTextByte;
  for (std::size_t c = 0x21; c < 0x7f; ++c) {
    if (std::string_view("\"(),/:;<=>?@[\\]{}").find(static_cast<char>(c)) == std::string_view::npos) {
      kinds[c] |= kTokenByte;
    }
    if (std::string_view("\"#/<>?@\\^`{|}").find(static_cast<char>(c)) == std::string_view::npos) kinds[c] |= kHostByte;
  }
  return kinds;
}();

inline bool is_kind(char c, ByteKind kind) noexcept { return (kByteKinds[static_cast<unsigned char>(c)] & kind) != 0; }

template <ByteKind kind>
const char* skip(const char* at, const char* end) noexcept {
  while (at != end && is_kind(*at, kind)) ++at;
  return at;
}

// Values and targets may be long.
inline const char* skip_text(const char* at, const char* end) noexcept {
#if defined(__SSE2__)
  const __m128i last_control = _mm_set1_epi8(0x1f);
  const __m128i tab = _mm_set1_epi8('\t');
  const __m128i del = _mm_set1_epi8(0x7f);
  for (; end - at >= 16; at += 16) {
    const __m128i bytes = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
    const __m128i control = _mm_cmpeq_epi8(_mm_min_epu8(bytes, last_control), bytes);
    const __m128i other =
        _mm_or_si128(_mm_andnot_si128(_mm_cmpeq_epi8(bytes, tab), control), _mm_cmpeq_epi8(bytes, del));
    if (const int found = _mm_movemask_epi8(other)) return at + std::countr_zero(static_cast<unsigned>(found));
  }
#endif
  return skip<kTextByte>(at, end);
}

inline bool is_blank(char c) noexcept { return c == ' ' || c == '\t'; }

struct RequestLine {
  std::string_view method;
  std::string_view target;
  bool http11 = false;
};

struct StatusLine {
  int status = 0;
  bool http11 = false;
};

ParseError scan_request_line(const char*& at, const char* end, RequestLine& line) noexcept;
ParseError scan_status_line(const char*& at, const char* end, StatusLine& line) noexcept;
// The rest of a value that goes on in the next lines (RFC 9112, 5.2); `at` is behind the end of its first one. `value`
// is given the whole, in one line.
ParseError unfold(const char*& at, const char* end, std::string& value);

// Fields up to the empty line, which is found as well. Shows each(name, value) each of them; an error that it returns
// ends it. `folded` says that the value is not where it was sent.
template <class Each>
ParseError scan_fields(const char*& at, const char* end, Each&& each) {
  const char* p = at;
  for (;;) {
    if (end - p < 2) return ParseError::need_more;
    if (*p == '\r') {
      if (p[1] != '\n') return ParseError::line_end;
      at = p + 2;
      return ParseError::none;
    }
    const char* first = p;
    p = skip<kTokenByte>(p, end);
    if (p == end) return ParseError::need_more;
    if (*p != ':' || p == first) return ParseError::field_name;
    const std::string_view name(first, static_cast<std::size_t>(p - first));
    do {
      ++p;
      if (p == end) return ParseError::need_more;
    } while (is_blank(*p));
    first = p;
    p = skip_text(p, end);
    if (p == end) return ParseError::need_more;
    if (*p != '\r') return ParseError::field_value;
    // One more tells whether the value goes on.
    if (end - p < 3) return ParseError::need_more;
    if (p[1] != '\n') return ParseError::line_end;
    const char* last = p;
    while (last != first && is_blank(last[-1])) --last;
    std::string_view value(first, static_cast<std::size_t>(last - first));
    p += 2;
    ParseError error;
    if (is_blank(*p)) [[unlikely]] {
      std::string whole(value);
      error = unfold(p, end, whole);
      if (error == ParseError::none) error = each(name, std::string_view(whole), true);
    } else {
      error = each(name, value, false);
    }
    if (error != ParseError::none) return error;
  }
}

}  // namespace penstock::http
