#include "runtime/http/trace_context.h"

#include <algorithm>
#include <memory>
#include <random>

namespace penstock::http {
namespace {

// "00-" 32 digits "-" 16 digits "-" 2 digits.
constexpr std::size_t kLength = 55;

// Upper case is not allowed.
int digit(char c) noexcept {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

template <std::size_t n>
bool read_hex(std::string_view text, std::array<std::uint8_t, n>& out) noexcept {
  for (std::size_t i = 0; i < n; ++i) {
    const int high = digit(text[2 * i]);
    const int low = digit(text[2 * i + 1]);
    if (high < 0 || low < 0) return false;
    out[i] = static_cast<std::uint8_t>(high * 16 + low);
  }
  return true;
}

template <std::size_t n>
void append_hex(std::string& text, const std::array<std::uint8_t, n>& bytes) {
  static constexpr char kDigits[] = "0123456789abcdef";
  for (const std::uint8_t byte : bytes) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
}

}  // namespace

std::optional<TraceContext> TraceContext::parse(std::string_view header) noexcept {
  if (header.size() < kLength || header[2] != '-' || header[35] != '-' || header[52] != '-') return std::nullopt;
  std::array<std::uint8_t, 1> version;
  std::array<std::uint8_t, 1> flags;
  TraceContext context;
  if (!read_hex(header, version) || !read_hex(header.substr(3), context.trace_id) ||
      !read_hex(header.substr(36), context.parent_id) || !read_hex(header.substr(53), flags)) {
    return std::nullopt;
  }
  if (version[0] == 0xff) return std::nullopt;
  if (header.size() > kLength && (version[0] == 0 || header[kLength] != '-')) return std::nullopt;
  if (!context.valid() || context.parent_id == std::array<std::uint8_t, 8>{}) return std::nullopt;
  context.flags = flags[0];
  return context;
}

std::string TraceContext::header(const std::array<std::uint8_t, 8>& span_id) const {
  std::string text = "00-";
  text.reserve(kLength);
  append_hex(text, trace_id);
  text += '-';
  append_hex(text, span_id);
  text += '-';
  append_hex(text, std::array{flags});
  return text;
}

std::array<std::uint8_t, 8> new_span_id() {
  static thread_local const auto random = std::make_unique<std::mt19937_64>(std::random_device{}());
  std::uint64_t bits;
  do bits = (*random)();
  while (bits == 0);
  std::array<std::uint8_t, 8> id;
  for (std::uint8_t& byte : id) {
    byte = static_cast<std::uint8_t>(bits);
    bits >>= 8;
  }
  return id;
}

}  // namespace penstock::http
