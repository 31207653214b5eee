#pragma once

#include <boost/json/object.hpp>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace penstock::controller {

// The process log: JSON lines on stderr, {"time", "level", "message", ...}. `level`: trace, debug, info, warn, error,
// off. False for another word.
bool configure_log(std::string_view level);

// One line at level info with fields; empty values are left out.
void log_event(std::string_view event, std::initializer_list<std::pair<std::string_view, std::string>> fields);

// The same with values of any kind; none is left out.
void log_event(std::string_view event, const boost::json::object& fields);

}  // namespace penstock::controller
