#pragma once

#include "penstock/decision/policy.h"

namespace penstock {

// Throws std::invalid_argument, naming the field, if a runtime cannot act on the policy. The ranges are those of
// proto/penstock/v1/policy.proto.
void check_policy(const decision::Policy& policy);

}  // namespace penstock
