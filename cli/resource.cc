#include "cli/resource.h"

#include <google/protobuf/util/time_util.h>

#include "cli/failure.h"
#include "policy/convert.h"
#include "policy/units.h"

namespace penstock::cli {

std::string singular(const std::string& kind) {
  if (kind == "policies" || kind == "policy") return "policy";
  for (const char* known : {"node", "pool", "upstream"})
    if (kind == known || kind == std::string(known) + "s") return known;
  if (kind == "breaker" || kind == "breakers") return "upstream";
  return "";
}

Resource parse_resource(const std::string& text) {
  const std::size_t slash = text.find('/');
  if (slash == std::string::npos || slash + 1 == text.size())
    throw Failure(kUsage, text + ": expected KIND/NAME, as in upstream/payments");
  Resource resource{singular(text.substr(0, slash)), text.substr(slash + 1)};
  if (resource.kind.empty()) throw Failure(kUsage, text + ": the kinds are node, pool, upstream, breaker and policy");
  return resource;
}

std::chrono::nanoseconds parse_duration_option(const std::string& option, const std::string& text) {
  const auto value = policy::parse_duration(text);
  if (!value.ok()) throw Failure(kUsage, option + ": " + std::string(value.status().message()));
  return *value;
}

google::protobuf::Timestamp parse_time_option(const std::string& option, const std::string& text) {
  if (const auto ago = policy::parse_duration(text); ago.ok()) {
    const auto back = std::chrono::duration_cast<std::chrono::system_clock::duration>(*ago);
    return policy::to_proto(std::chrono::system_clock::now() - back);
  }
  google::protobuf::Timestamp time;
  if (!google::protobuf::util::TimeUtil::FromString(text, &time))
    throw Failure(kUsage,
                  option + ": \"" + text + "\" is neither a time (2024-05-01T12:00:00Z) nor how long ago (10m)");
  return time;
}

std::string format_time(const google::protobuf::Timestamp& time) {
  google::protobuf::Timestamp whole;
  whole.set_seconds(time.seconds());
  std::string text = google::protobuf::util::TimeUtil::ToString(whole);
  if (const std::size_t t = text.find('T'); t != std::string::npos) text[t] = ' ';
  return text;
}

std::string format_age(const google::protobuf::Timestamp& time) {
  if (time.seconds() == 0) return "-";
  return policy::round_duration(std::chrono::system_clock::now() - policy::to_chrono(time));
}

}  // namespace penstock::cli
