#pragma once

#include <chrono>
#include <string>

#include "penstock/v1/admin.pb.h"

namespace penstock::cli {

// KIND/NAME as it stands on the command line.
struct Resource {
  // "node", "pool", "upstream", "policy".
  std::string kind;
  std::string name;
};

// The kind may be in the plural. A breaker is one of its upstream. Throws Failure (usage).
Resource parse_resource(const std::string& text);
// "pool" for "pools" or "pool"; empty for what is no kind.
std::string singular(const std::string& kind);

// "250ms" and the like, of an option. Throws Failure (usage).
std::chrono::nanoseconds parse_duration_option(const std::string& option, const std::string& text);
// "2024-05-01T12:00:00Z", or how long ago: "10m".
google::protobuf::Timestamp parse_time_option(const std::string& option, const std::string& text);

// "2024-05-01 12:00:00Z", in UTC.
std::string format_time(const google::protobuf::Timestamp& time);
// How long ago, rounded; "-" for never.
std::string format_age(const google::protobuf::Timestamp& time);

}  // namespace penstock::cli
