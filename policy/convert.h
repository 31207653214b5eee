#pragma once

#include <chrono>

#include "absl/status/statusor.h"
#include "penstock/decision/policy.h"

namespace google::protobuf {
class Duration;
class Timestamp;
}  // namespace google::protobuf
namespace penstock::v1 {
class Policy;
}  // namespace penstock::v1

namespace penstock::policy {

// With every default filled in and the pool "default" present (first, when the policy does not list it). Refuses with
// POLICY_INVALID what validate() finds.
absl::StatusOr<decision::Policy> to_decision(const v1::Policy& policy);

// Beyond what nanoseconds in 64 bits can hold (292 years) the nearest value that they can.
std::chrono::nanoseconds to_chrono(const google::protobuf::Duration& value);
google::protobuf::Duration to_proto(std::chrono::nanoseconds value);
std::chrono::system_clock::time_point to_chrono(const google::protobuf::Timestamp& value);
google::protobuf::Timestamp to_proto(std::chrono::system_clock::time_point value);

}  // namespace penstock::policy
