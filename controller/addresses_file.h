#pragma once

#include <string>

#include "absl/status/status.h"

namespace penstock::controller {

// Writes {"grpc":"host:port","http":"host:port"}; readers see the whole file or none.
absl::Status write_addresses(const std::string& path, const std::string& grpc, const std::string& http);

}  // namespace penstock::controller
