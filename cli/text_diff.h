#pragma once

#include <string>

#include "cli/console.h"

namespace penstock::cli {

// A unified diff with three lines of context; empty when the texts are equal.
std::string unified_diff(const std::string& before, const std::string& after, const std::string& before_name,
                         const std::string& after_name, const Console& console);

}  // namespace penstock::cli
