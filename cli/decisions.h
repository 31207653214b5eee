#pragma once

#include <string>
#include <vector>

#include "cli/client.h"
#include "cli/console.h"
#include "penstock/v1/admin.pb.h"

namespace penstock::cli {

// A decision on one line: time, action, resource, place, message.
std::string line(const v1::Decision& decision, const Console& console);

// All of them, oldest first.
std::vector<v1::Decision> list_decisions(Client& client, v1::ListDecisionsRequest request);

}  // namespace penstock::cli
