#pragma once

#include <string>
#include <string_view>

#include "penstock/http_message.h"

// The text of HTTP/1.1 messages that we send.
namespace penstock::http {

// Equal but for the case of ASCII letters.
bool same_token(std::string_view a, std::string_view b) noexcept;
// Whether a comma-separated list, such as the value of Connection, has this member.
bool list_has(std::string_view list, std::string_view token) noexcept;

// Whether a name or value can be sent without changing what follows it (line breaks, empty names, ..).
bool is_token(std::string_view name) noexcept;
bool is_field_value(std::string_view value) noexcept;

// Headers that frame a message or belong to one connection: never copied from what a caller wrote.
bool is_framing_header(std::string_view name) noexcept;

enum class Persistence {
  keep,           // HTTP/1.1's default: said by saying nothing
  keep_explicit,  // to an HTTP/1.0 client that asked for it
  close,
};

// Whether a response of that status may have a body, and so a Content-Length.
bool status_has_body(int status) noexcept;

// How long a body is.
struct Framing {
  enum Kind { length, chunked, until_close, none } kind = none;
  std::size_t bytes = 0;
};

// Up to which size a body is copied behind its head, to be sent in one piece.
inline constexpr std::size_t kShortBody = 8 * 1024;

// Appends status line and header of a response, date included, and makes room for a short body; of one of
// which why_unsound() says nothing.
void append_head(std::string& out, int status, const Headers& headers, Framing framing, Persistence persistence);
// Appends "HTTP/1.1 101 .." with these headers.
void append_upgrade(std::string& out, const Headers& headers);

// Appends the size line of a chunk.
void append_chunk_size(std::string& out, std::size_t bytes);
void append_field(std::string& out, std::string_view name, std::string_view value);

// What of it cannot be sent, such as "a malformed value of the header X-Name"; empty: nothing.
std::string why_unsound(int status, const Headers& headers);

}  // namespace penstock::http
