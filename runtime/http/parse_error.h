#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace penstock::http {

// Why the parsing of a message stopped.
enum class ParseError : std::uint8_t {
  none,
  need_more,  // what there is may be the begin of something good
  need_room,  // of a body that goes to a room: it is full
  header_limit,
  body_limit,
  method,
  target,
  version,
  status,
  reason,
  line_end,
  field_name,
  field_value,
  connection,
  length,
  lengths,
  encoding,
  length_and_encoding,
  trailer,
  chunk,
  chunk_extension,
  cut_off,
};

std::string_view to_string(ParseError error) noexcept;

// How far it got: what was used is not shown to the parser again.
struct Parsed {
  std::size_t used = 0;
  ParseError error = ParseError::none;
};

}  // namespace penstock::http
