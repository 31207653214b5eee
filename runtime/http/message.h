#pragma once

#include <string>
#include <string_view>

#include "penstock/http.h"

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

// Appends status line and header of a response with `body_bytes` of body, date included. The caller has checked that
// header_is_sound().
void append_head(std::string& out, const Response& response, std::size_t body_bytes, Persistence persistence);

bool header_is_sound(const Response& response) noexcept;

}  // namespace penstock::http
