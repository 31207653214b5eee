#pragma once

#include <array>
#include <optional>
#include <string_view>

#include "absl/status/status.h"

// Every reason for which a call can be refused, and what it becomes on each surface. proto/README.md shows the same
// table; a test holds the two together.
namespace penstock::errors {

enum class Reason {
  policy_invalid,
  argument_invalid,
  ambiguous_name,
  page_token_invalid,
  request_id_reused,
  policy_not_found,
  revision_not_found,
  node_not_found,
  pool_not_found,
  upstream_not_found,
  service_unknown,
  revision_conflict,
  policy_conflict,
  compacted,
  unauthenticated,
  permission,
  hello_invalid,
  epoch_stale,
  version_stale,
  nonce_replayed,
  directive_invalid,
  store_unavailable,
  internal,
};

struct Row {
  Reason reason;
  // As it stands in ErrorInfo.reason.
  std::string_view name;
  // Equal in value to the gRPC status code.
  absl::StatusCode code;
  int http_status;
  // Of penstockctl.
  int exit_code;
  std::string_view meaning;
  std::string_view remedy;
};

// In the order of Reason.
inline constexpr std::array<Row, 23> kTable{{
    {Reason::policy_invalid, "POLICY_INVALID", absl::StatusCode::kInvalidArgument, 400, 3,
     "A field of the policy is missing, out of range or contradicts another; BadRequest lists each.",
     "Correct the named fields; `penstockctl validate` finds the same without a controller."},
    {Reason::argument_invalid, "ARGUMENT_INVALID", absl::StatusCode::kInvalidArgument, 400, 2,
     "A field of the request other than a policy is missing or out of range; BadRequest lists each.",
     "Correct the named fields."},
    {Reason::ambiguous_name, "AMBIGUOUS_NAME", absl::StatusCode::kInvalidArgument, 400, 2,
     "Several services have a resource of this name.", "Name the service as well."},
    {Reason::page_token_invalid, "PAGE_TOKEN_INVALID", absl::StatusCode::kInvalidArgument, 400, 1,
     "The page token was not issued for this list.", "Begin again without a token."},
    {Reason::request_id_reused, "REQUEST_ID_REUSED", absl::StatusCode::kInvalidArgument, 400, 1,
     "The request_id was used within the last hour for a different request.", "Use a new request_id."},
    {Reason::policy_not_found, "POLICY_NOT_FOUND", absl::StatusCode::kNotFound, 404, 1,
     "No policy of this name exists.", "List the policies."},
    {Reason::revision_not_found, "REVISION_NOT_FOUND", absl::StatusCode::kNotFound, 404, 1,
     "The policy has no such revision.", "List the revisions of the policy."},
    {Reason::node_not_found, "NODE_NOT_FOUND", absl::StatusCode::kNotFound, 404, 1, "No node of this name is known.",
     "List the nodes."},
    {Reason::pool_not_found, "POOL_NOT_FOUND", absl::StatusCode::kNotFound, 404, 1, "No pool of this name is known.",
     "List the pools."},
    {Reason::upstream_not_found, "UPSTREAM_NOT_FOUND", absl::StatusCode::kNotFound, 404, 1,
     "No upstream of this name is known.", "List the upstreams."},
    {Reason::service_unknown, "SERVICE_UNKNOWN", absl::StatusCode::kNotFound, 404, 1,
     "No policy governs a service of this name.",
     "Apply a policy for the service, or correct the node's service name."},
    {Reason::revision_conflict, "REVISION_CONFLICT", absl::StatusCode::kAborted, 409, 5,
     "The policy changed since the caller read it: its etag differs.", "Read it again, and repeat the change on it."},
    {Reason::policy_conflict, "POLICY_CONFLICT", absl::StatusCode::kFailedPrecondition, 409, 1,
     "Another policy already claims the same nodes.", "Narrow service or nodeLabels of one of the two."},
    {Reason::compacted, "COMPACTED", absl::StatusCode::kOutOfRange, 410, 1,
     "The place to resume from is no longer kept.", "Begin again from what is there now."},
    {Reason::unauthenticated, "UNAUTHENTICATED", absl::StatusCode::kUnauthenticated, 401, 1,
     "The caller's certificate maps to no identity.", "Use a certificate that the controller's roles name."},
    {Reason::permission, "PERMISSION", absl::StatusCode::kPermissionDenied, 403, 1,
     "The caller's role does not allow this call.", "Use an identity with the role that the message names."},
    {Reason::hello_invalid, "HELLO_INVALID", absl::StatusCode::kInvalidArgument, 400, 1,
     "A node's stream does not begin with one well-formed Hello.", "Correct what the message names."},
    {Reason::epoch_stale, "EPOCH_STALE", absl::StatusCode::kFailedPrecondition, 409, 1,
     "The push comes from a controller that a later one has replaced.", "None: the later controller's pushes count."},
    {Reason::version_stale, "VERSION_STALE", absl::StatusCode::kFailedPrecondition, 409, 1,
     "The push, or the policy in it, is older than what the node already has.", "Send what changed since."},
    {Reason::nonce_replayed, "NONCE_REPLAYED", absl::StatusCode::kFailedPrecondition, 409, 1,
     "The nonce was used before on this stream.", "Send every push with a new nonce."},
    {Reason::directive_invalid, "DIRECTIVE_INVALID", absl::StatusCode::kInvalidArgument, 400, 1,
     "A push names what the policy does not have, or a value out of range.", "Correct the named fields."},
    {Reason::store_unavailable, "STORE_UNAVAILABLE", absl::StatusCode::kUnavailable, 503, 4,
     "The controller cannot read or write its store; nothing was changed.", "Try again after the delay in RetryInfo."},
    {Reason::internal, "INTERNAL", absl::StatusCode::kInternal, 500, 1, "A fault of the program; nothing was changed.",
     "Report it with the controller's log."},
}};

constexpr const Row& row(Reason reason) { return kTable[static_cast<std::size_t>(reason)]; }

// By its name in ErrorInfo.
std::optional<Reason> parse_reason(std::string_view name);

}  // namespace penstock::errors
