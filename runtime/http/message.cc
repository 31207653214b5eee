#include "runtime/http/message.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <ctime>
#include <utility>

#include "runtime/http/head_scanner.h"

namespace penstock::http {
namespace {

constexpr char lower(char c) noexcept { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; }

// What a head has beside its headers, at most; a reason phrase of average length.
constexpr std::size_t kHeadWithoutHeaders = 192;

// RFC 9110, 15; 6585; 4918; 8297; 8470.
constexpr std::pair<int, std::string_view> kReasons[] = {
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {203, "Non-Authoritative Information"},
    {204, "No Content"},
    {205, "Reset Content"},
    {206, "Partial Content"},
    {207, "Multi-Status"},
    {208, "Already Reported"},
    {226, "IM Used"},
    {300, "Multiple Choices"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {303, "See Other"},
    {304, "Not Modified"},
    {305, "Use Proxy"},
    {307, "Temporary Redirect"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {402, "Payment Required"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {407, "Proxy Authentication Required"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Payload Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {416, "Range Not Satisfiable"},
    {417, "Expectation Failed"},
    {421, "Misdirected Request"},
    {422, "Unprocessable Entity"},
    {423, "Locked"},
    {424, "Failed Dependency"},
    {425, "Too Early"},
    {426, "Upgrade Required"},
    {428, "Precondition Required"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {451, "Unavailable For Legal Reasons"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
    {506, "Variant Also Negotiates"},
    {507, "Insufficient Storage"},
    {508, "Loop Detected"},
    {510, "Not Extended"},
    {511, "Network Authentication Required"},
};

// Empty: it has none.
std::string_view reason_of(int status) noexcept {
  const auto* const found = std::lower_bound(std::begin(kReasons), std::end(kReasons), status,
                                             [](const auto& entry, int wanted) { return entry.first < wanted; });
  return found != std::end(kReasons) && found->first == status ? found->second : std::string_view();
}

std::string_view trim(std::string_view s) noexcept {
  while (!s.empty() && (s.front() == ' ' || s.front() == '\t')) s.remove_prefix(1);
  while (!s.empty() && (s.back() == ' ' || s.back() == '\t')) s.remove_suffix(1);
  return s;
}

void append_number(std::string& out, std::size_t value) {
  std::array<char, 24> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), value).ptr;
  out.append(digits.data(), end);
}

// "Date: ...\r\n", made once a second per thread.
std::string_view date_line() {
  static thread_local std::time_t made_at = 0;
  static thread_local std::array<char, 64> text;
  static thread_local std::size_t length = 0;
  timespec now;
  ::clock_gettime(CLOCK_REALTIME_COARSE, &now);
  if (now.tv_sec != made_at || length == 0) {
    tm parts;
    ::gmtime_r(&now.tv_sec, &parts);
    length = std::strftime(text.data(), text.size(), "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &parts);
    made_at = now.tv_sec;
  }
  return {text.data(), length};
}

}  // namespace

bool same_token(std::string_view a, std::string_view b) noexcept {
  if (a.size() != b.size()) return false;
  if (a == b) return true;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (lower(a[i]) != lower(b[i])) return false;
  }
  return true;
}

bool list_has(std::string_view list, std::string_view token) noexcept {
  while (!list.empty()) {
    const std::string_view member = list.substr(0, list.find(','));
    if (same_token(trim(member), token)) return true;
    list.remove_prefix(std::min(list.size(), member.size() + 1));
  }
  return false;
}

bool is_token(std::string_view name) noexcept {
  for (const char c : name) {
    if (!is_kind(c, kTokenByte)) return false;
  }
  return !name.empty();
}

bool is_field_value(std::string_view value) noexcept {
  const char* const end = value.data() + value.size();
  // Other controls than these change nothing of what follows.
  for (const char* p = skip_text(value.data(), end); p != end; p = skip_text(p + 1, end)) {
    if (*p == '\r' || *p == '\n' || *p == '\0') return false;
  }
  return true;
}

bool is_framing_header(std::string_view name) noexcept {
  switch (name.size()) {
    case 4:
      return same_token(name, "Date");
    case 10:
      return same_token(name, "Connection") || same_token(name, "Keep-Alive");
    case 14:
      return same_token(name, "Content-Length");
    case 17:
      return same_token(name, "Transfer-Encoding");
    default:
      return false;
  }
}

bool status_has_body(int status) noexcept { return status >= 200 && status != 204 && status != 304; }

void append_field(std::string& out, std::string_view name, std::string_view value) {
  out += name;
  out += ": ";
  out += value;
  out += "\r\n";
}

void append_chunk_size(std::string& out, std::size_t bytes) {
  std::array<char, 20> digits;
  const auto end = std::to_chars(digits.data(), digits.data() + digits.size(), bytes, 16).ptr;
  out.append(digits.data(), end);
  out += "\r\n";
}

void append_head(std::string& out, int status, const Headers& headers, Framing framing, Persistence persistence) {
  std::size_t size = out.size() + kHeadWithoutHeaders;
  if (framing.kind == Framing::length && framing.bytes <= kShortBody) size += framing.bytes;
  for (const auto& [name, value] : headers) size += name.size() + value.size() + 4;
  out.reserve(size);
  if (status == 200) {
    out += "HTTP/1.1 200 OK\r\n";
  } else {
    out += "HTTP/1.1 ";
    append_number(out, static_cast<std::size_t>(status));
    out += ' ';
    out += reason_of(status);
    out += "\r\n";
  }
  out += date_line();
  for (const auto& [name, value] : headers) {
    if (!is_framing_header(name)) append_field(out, name, value);
  }
  if (framing.kind == Framing::length) {
    out += "Content-Length: ";
    append_number(out, framing.bytes);
    out += "\r\n";
  }
  if (framing.kind == Framing::chunked) out += "Transfer-Encoding: chunked\r\n";
  if (persistence == Persistence::close) out += "Connection: close\r\n";
  if (persistence == Persistence::keep_explicit) out += "Connection: keep-alive\r\n";
  out += "\r\n";
}

void append_upgrade(std::string& out, const Headers& headers) {
  out += "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n";
  for (const auto& [name, value] : headers) {
    if (!is_framing_header(name)) append_field(out, name, value);
  }
  out += "\r\n";
}

std::string why_unsound(int status, const Headers& headers) {
  if (status < 200 || status > 599) return "a status that is not in [200, 599]";
  for (const auto& [name, value] : headers) {
    if (!is_token(name)) return "a malformed name of a header";
    if (!is_field_value(value)) return "a malformed value of the header " + name;
  }
  return {};
}

}  // namespace penstock::http
