#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace penstock::telemetry {

// Bytes that the process's control group, or one above it, allows; 0: no limit, or not known. `own_groups` is the text
// of /proc/self/cgroup, `root` where control groups are mounted.
std::int64_t memory_limit(std::string_view own_groups, const std::string& root);
// Of this process.
std::int64_t memory_limit();

}  // namespace penstock::telemetry
