#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "proto/errors/error_table.h"

namespace grpc {
class Status;
}
namespace google::rpc {
class Status;
}

// A refusal with its reason, carried unchanged through absl::Status, gRPC and an Ack.
namespace penstock::errors {

// What is wrong with one field.
struct Violation {
  // Path by proto names: "spec.upstreams[0].breaker.error_ratio".
  std::string field;
  // What is wrong and what would be right.
  std::string message;
  bool operator==(const Violation&) const = default;
};

struct Error {
  Reason reason = Reason::internal;
  // A sentence for people, in lower case, without a full stop.
  std::string message;
  // Names and numbers for programs.
  std::map<std::string, std::string> metadata = {};
  std::vector<Violation> violations = {};
  // When to try again.
  std::optional<std::chrono::nanoseconds> retry_after = {};
  bool operator==(const Error&) const = default;
};

// The code is the table's; ErrorInfo, BadRequest and RetryInfo are in the details. As absl::Status it holds the same in
// a payload, so that code that knows only absl::StatusOr passes it on.
google::rpc::Status to_rpc(const Error& error);
grpc::Status to_grpc(const Error& error);
absl::Status to_absl(const Error& error);

// A status that to_absl made, unchanged; any other one with its code and message and, for want of a reason, no details.
grpc::Status to_grpc(const absl::Status& status);
google::rpc::Status to_rpc(const absl::Status& status);

// Unset when the status carries no ErrorInfo of this domain with a reason of the table.
std::optional<Error> from_rpc(const google::rpc::Status& status);
std::optional<Error> from_grpc(const grpc::Status& status);
std::optional<Error> from_absl(const absl::Status& status);

// POLICY_INVALID with these violations; the message holds the first and how many more there are.
Error policy_invalid(std::vector<Violation> violations);
// ARGUMENT_INVALID on one field.
Error argument_invalid(std::string field, std::string message);

}  // namespace penstock::errors
