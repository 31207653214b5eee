#pragma once

#include <vector>

#include "absl/status/status.h"
#include "proto/errors/error.h"

namespace penstock::v1 {
class Policy;
}

namespace penstock::policy {

// Everything in metadata.name, metadata.labels and spec that penstock/v1/policy.proto does not allow: ranges (with the
// defaults filled in), requirements, duplicates, references. Empty: the policy can be carried out. What only the
// controller writes (revision, etag, times, status) is not looked at.
std::vector<errors::Violation> validate(const v1::Policy& policy);

// The same as POLICY_INVALID.
absl::Status check(const v1::Policy& policy);

}  // namespace penstock::policy
