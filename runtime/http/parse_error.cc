#include "runtime/http/parse_error.h"

namespace penstock::http {

std::string_view to_string(ParseError error) noexcept {
  switch (error) {
    case ParseError::none:
      return "no error";
    case ParseError::need_more:
      return "incomplete";
    case ParseError::need_room:
      return "no room";
    case ParseError::header_limit:
      return "the header is too large";
    case ParseError::body_limit:
      return "the body is too large";
    case ParseError::method:
      return "a malformed method";
    case ParseError::target:
      return "a malformed target";
    case ParseError::version:
      return "no HTTP/1.0 or HTTP/1.1";
    case ParseError::status:
      return "a malformed status";
    case ParseError::reason:
      return "a malformed reason";
    case ParseError::line_end:
      return "a line that does not end with CR LF";
    case ParseError::field_name:
      return "a malformed field name";
    case ParseError::field_value:
      return "a malformed field value";
    case ParseError::connection:
      return "a malformed Connection";
    case ParseError::length:
      return "a malformed Content-Length";
    case ParseError::lengths:
      return "more than one Content-Length";
    case ParseError::encoding:
      return "a malformed Transfer-Encoding";
    case ParseError::length_and_encoding:
      return "both Content-Length and Transfer-Encoding";
    case ParseError::trailer:
      return "a trailer that belongs into the header";
    case ParseError::chunk:
      return "a malformed chunk";
    case ParseError::chunk_extension:
      return "a malformed chunk extension";
    case ParseError::cut_off:
      return "the message was cut off";
  }
  return "unknown";
}

}  // namespace penstock::http
