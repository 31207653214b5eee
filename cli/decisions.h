#pragma once

#include <string>

#include "cli/console.h"
#include "penstock/v1/admin.pb.h"

namespace penstock::cli {

// A decision on one line: time, action, resource, place, message.
std::string line(const v1::Decision& decision, const Console& console);

}  // namespace penstock::cli
