#pragma once

#include <string_view>

// How an unquoted YAML scalar reads to people and to other YAML readers.
namespace penstock::policy {

// "-12".
bool is_whole(std::string_view text);
// "-12", "0.5", "1e6", also ".inf" and ".nan", which no field accepts.
bool is_number(std::string_view text);
// true, false, yes, no, on, off in any case: the words that some reader of YAML takes for a boolean.
bool is_boolean(std::string_view text);

}  // namespace penstock::policy
