#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace penstock::http {

// The path of a request's target: without the query, and without scheme and authority if it is in absolute form.
std::string_view path_of(std::string_view target);

// The form in which paths are compared: the only escapes in it are those of "/" and "%". It decodes to what the path
// decodes to.
std::string canonical_path(std::string_view path);
// Whether it is in that form because it has no escape.
inline bool is_plain_path(std::string_view path) { return path.find('%') == path.npos; }

// %XX decoded, and "+" as a space in queries; what is no valid escape stays as it is.
std::string percent_decode(std::string_view text, bool plus_is_space);

// The decoded value of the first parameter of that name in a target's query; unset: there is none.
std::optional<std::string> query_value(std::string_view target, std::string_view name);

}  // namespace penstock::http
