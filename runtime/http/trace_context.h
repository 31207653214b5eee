#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace penstock::http {

// What a request's header "traceparent" says (W3C Trace Context, level 1).
struct TraceContext {
  std::array<std::uint8_t, 16> trace_id{};
  // The span of the caller.
  std::array<std::uint8_t, 8> parent_id{};
  std::uint8_t flags = 0;

  // All zero is what the format calls invalid: no trace.
  bool valid() const noexcept { return trace_id != std::array<std::uint8_t, 16>{}; }

  // Unset for anything that the format does not allow; a later version than 00 is read as far as 00 goes.
  static std::optional<TraceContext> parse(std::string_view header) noexcept;
  // As version 00, with that span as the parent.
  std::string header(const std::array<std::uint8_t, 8>& span_id) const;
  std::string header() const { return header(parent_id); }
};

// Random, and not zero.
std::array<std::uint8_t, 8> new_span_id();

// Of a header that parse() takes: the 32 digits of the trace's id.
inline std::string_view trace_id_of(std::string_view header) noexcept { return header.substr(3, 32); }

}  // namespace penstock::http
