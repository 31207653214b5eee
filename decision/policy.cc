#include "penstock/decision/policy.h"

namespace penstock::decision {

std::string_view to_string(Priority priority) {
  switch (priority) {
    case Priority::critical:
      return "critical";
    case Priority::high:
      return "high";
    case Priority::normal:
      return "normal";
    case Priority::low:
      return "low";
  }
  return "unknown";
}

bool route_matches(std::string_view pattern, std::string_view path) {
  if (pattern.ends_with('*')) {
    pattern.remove_suffix(1);
    return path.starts_with(pattern);
  }
  return path == pattern;
}

}  // namespace penstock::decision
