#pragma once

#include <google/protobuf/message.h>

#include <string>

#include "absl/status/statusor.h"
#include "controller/store/store.h"

namespace penstock::controller {

// The key of a mutation under its request_id. ARGUMENT_INVALID for an id that is too long.
absl::StatusOr<RequestKey> request_key(const google::protobuf::Message& request, const std::string& request_id);

}  // namespace penstock::controller
