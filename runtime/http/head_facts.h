#pragma once

#include <cstdint>
#include <string_view>

#include "runtime/http/message.h"
#include "runtime/http/parse_error.h"

namespace penstock::http {

enum class FieldKind : std::uint8_t { other, host, expect, connection, content_length, transfer_encoding };

inline FieldKind kind_of_field(std::string_view name) noexcept {
  const auto is = [&](std::string_view known, FieldKind kind) {
    return same_token(name, known) ? kind : FieldKind::other;
  };
  switch (name.size()) {
    case 4:
      return is("Host", FieldKind::host);
    case 6:
      return is("Expect", FieldKind::expect);
    case 10:
      return is("Connection", FieldKind::connection);
    case 14:
      return is("Content-Length", FieldKind::content_length);
    case 17:
      return is("Transfer-Encoding", FieldKind::transfer_encoding);
    default:
      return FieldKind::other;
  }
}

// What the fields of a head say about the message's end and the connection's.
struct HeadFacts {
  std::uint64_t length = 0;
  bool has_length = false;
  // Chunked is the last of its encodings.
  bool chunked = false;
  bool encoded = false;
  bool says_close = false;
  bool says_keep_alive = false;

  // Takes one field. A message of which it could be said in two ways where it ends is refused.
  ParseError take(FieldKind kind, std::string_view value) noexcept {
    switch (kind) {
      case FieldKind::connection:
        return take_connection(value);
      case FieldKind::content_length:
        return take_length(value);
      case FieldKind::transfer_encoding:
        return take_encoding(value);
      default:
        return ParseError::none;
    }
  }

 private:
  ParseError take_connection(std::string_view value) noexcept;
  ParseError take_length(std::string_view value) noexcept;
  ParseError take_encoding(std::string_view value) noexcept;
};

}  // namespace penstock::http
