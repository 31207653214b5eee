#include "runtime/telemetry/memory_limit.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>

namespace penstock::telemetry {
namespace {

// What the first version of control groups says for "no limit" is a little less than 2^63.
constexpr std::int64_t kNone = std::int64_t{1} << 60;

std::string read(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

std::optional<std::int64_t> limit_in(const std::string& path) {
  const std::string text = read(path);
  std::int64_t bytes = 0;
  if (std::from_chars(text.data(), text.data() + text.size(), bytes).ec != std::errc() || bytes >= kNone) {
    return std::nullopt;
  }
  return bytes;
}

// The least of the group's own limit and of those above it.
std::optional<std::int64_t> least(const std::string& mount, std::string group, const char* file) {
  std::optional<std::int64_t> found;
  while (true) {
    if (const auto limit = limit_in(mount + group + "/" + file)) found = std::min(found.value_or(*limit), *limit);
    const std::size_t slash = group.rfind('/');
    if (slash == std::string::npos || group.empty()) return found;
    group.resize(slash);
  }
}

}  // namespace

std::int64_t memory_limit(std::string_view own_groups, const std::string& root) {
  std::optional<std::int64_t> found;
  while (!own_groups.empty()) {
    const std::string_view line = own_groups.substr(0, own_groups.find('\n'));
    own_groups.remove_prefix(std::min(own_groups.size(), line.size() + 1));
    const std::size_t first = line.find(':');
    const std::size_t second = line.find(':', first == line.npos ? first : first + 1);
    if (second == line.npos) continue;
    const std::string_view controllers = line.substr(first + 1, second - first - 1);
    std::string group(line.substr(second + 1));
    if (group == "/") group.clear();
    std::optional<std::int64_t> limit;
    if (controllers.empty()) {
      limit = least(root, group, "memory.max");
    } else if (controllers.find("memory") != controllers.npos) {
      limit = least(root + "/memory", group, "memory.limit_in_bytes");
    }
    if (limit) found = std::min(found.value_or(*limit), *limit);
  }
  return found.value_or(0);
}

std::int64_t memory_limit() { return memory_limit(read("/proc/self/cgroup"), "/sys/fs/cgroup"); }

}  // namespace penstock::telemetry
