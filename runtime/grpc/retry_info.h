#pragma once

#include <optional>
#include <string_view>

#include "penstock/error.h"

namespace penstock::grpc {

// retry_delay of the first google.rpc.RetryInfo among the details of a google.rpc.Status, as the trailer
// grpc-status-details-bin carries it. At most a week. Unset without one, when it is negative, and for
// bytes that are no such message.
std::optional<Duration> retry_delay(std::string_view status);

}  // namespace penstock::grpc
