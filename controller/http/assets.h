#pragma once

#include <span>
#include <string_view>

namespace penstock::controller {

// One file that is built into the program.
struct Asset {
  // "console/console.js", "dashboards/fleet.json".
  std::string_view path;
  // As Content-Type has it.
  std::string_view type;
  std::string_view content;
};

// Sorted by path.
std::span<const Asset> assets();

// Null when there is none.
const Asset* find_asset(std::string_view path);

}  // namespace penstock::controller
