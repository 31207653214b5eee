#include "proto/errors/error.h"

#include <grpcpp/support/status.h>

#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/str_cat.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace penstock::errors {
namespace {

constexpr char kDomain[] = "penstock";
constexpr char kPayloadUrl[] = "type.googleapis.com/google.rpc.Status";

google::protobuf::Duration duration(std::chrono::nanoseconds value) {
  google::protobuf::Duration result;
  result.set_seconds(value.count() / 1'000'000'000);
  result.set_nanos(static_cast<int>(value.count() % 1'000'000'000));
  return result;
}

constexpr bool table_is_in_order() {
  for (std::size_t i = 0; i < kTable.size(); ++i)
    if (static_cast<std::size_t>(kTable[i].reason) != i) return false;
  return true;
}
static_assert(table_is_in_order());

}  // namespace

std::optional<Reason> parse_reason(std::string_view name) {
  for (const Row& row : kTable)
    if (row.name == name) return row.reason;
  return std::nullopt;
}

google::rpc::Status to_rpc(const Error& error) {
  const Row& entry = row(error.reason);
  google::rpc::Status status;
  status.set_code(static_cast<int>(entry.code));
  status.set_message(error.message);
  google::rpc::ErrorInfo info;
  info.set_reason(std::string(entry.name));
  info.set_domain(kDomain);
  for (const auto& [key, value] : error.metadata) (*info.mutable_metadata())[key] = value;
  status.add_details()->PackFrom(info);
  if (!error.violations.empty()) {
    google::rpc::BadRequest bad;
    for (const Violation& violation : error.violations) {
      auto* field = bad.add_field_violations();
      field->set_field(violation.field);
      field->set_description(violation.message);
    }
    status.add_details()->PackFrom(bad);
  }
  if (error.retry_after) {
    google::rpc::RetryInfo retry;
    *retry.mutable_retry_delay() = duration(*error.retry_after);
    status.add_details()->PackFrom(retry);
  }
  return status;
}

grpc::Status to_grpc(const Error& error) {
  const google::rpc::Status status = to_rpc(error);
  return grpc::Status(static_cast<grpc::StatusCode>(status.code()), status.message(), status.SerializeAsString());
}

absl::Status to_absl(const Error& error) {
  const google::rpc::Status status = to_rpc(error);
  absl::Status result(static_cast<absl::StatusCode>(status.code()), status.message());
  result.SetPayload(kPayloadUrl, absl::Cord(status.SerializeAsString()));
  return result;
}

google::rpc::Status to_rpc(const absl::Status& status) {
  google::rpc::Status result;
  if (auto payload = status.GetPayload(kPayloadUrl); payload && result.ParseFromString(std::string(*payload)))
    return result;
  result.Clear();
  result.set_code(static_cast<int>(status.code()));
  result.set_message(std::string(status.message()));
  return result;
}

grpc::Status to_grpc(const absl::Status& status) {
  if (status.ok()) return grpc::Status::OK;
  const google::rpc::Status rpc = to_rpc(status);
  return grpc::Status(static_cast<grpc::StatusCode>(rpc.code()), rpc.message(),
                      rpc.details().empty() ? std::string() : rpc.SerializeAsString());
}

std::optional<Error> from_rpc(const google::rpc::Status& status) {
  Error error;
  bool known = false;
  for (const auto& detail : status.details()) {
    google::rpc::ErrorInfo info;
    google::rpc::BadRequest bad;
    google::rpc::RetryInfo retry;
    if (detail.UnpackTo(&info)) {
      const auto reason = parse_reason(info.reason());
      if (info.domain() != kDomain || !reason) continue;
      known = true;
      error.reason = *reason;
      for (const auto& [key, value] : info.metadata()) error.metadata[key] = value;
    } else if (detail.UnpackTo(&bad)) {
      for (const auto& field : bad.field_violations()) error.violations.push_back({field.field(), field.description()});
    } else if (detail.UnpackTo(&retry)) {
      error.retry_after =
          std::chrono::seconds(retry.retry_delay().seconds()) + std::chrono::nanoseconds(retry.retry_delay().nanos());
    }
  }
  if (!known) return std::nullopt;
  error.message = status.message();
  return error;
}

std::optional<Error> from_grpc(const grpc::Status& status) {
  google::rpc::Status rpc;
  if (status.error_details().empty() || !rpc.ParseFromString(status.error_details())) return std::nullopt;
  return from_rpc(rpc);
}

std::optional<Error> from_absl(const absl::Status& status) { return from_rpc(to_rpc(status)); }

Error policy_invalid(std::vector<Violation> violations) {
  Error error{.reason = Reason::policy_invalid, .message = "the policy is invalid"};
  if (!violations.empty()) {
    error.message = absl::StrCat(violations[0].field, ": ", violations[0].message);
    if (violations.size() > 1) absl::StrAppend(&error.message, " (and ", violations.size() - 1, " more)");
  }
  error.violations = std::move(violations);
  return error;
}

Error argument_invalid(std::string field, std::string message) {
  Error error{.reason = Reason::argument_invalid, .message = absl::StrCat(field, ": ", message)};
  error.violations.push_back({std::move(field), std::move(message)});
  return error;
}

}  // namespace penstock::errors
