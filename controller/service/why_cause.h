#pragma once

#include <string>

#include "penstock/v1/admin.pb.h"

namespace penstock::controller {

// Whose fault it is that an upstream is slow, as the fleet's test has it: a clause for the summary (empty: nothing is
// amiss), and the steps and what would change it in the response.
std::string explain_cause(const v1::CauseView& cause, v1::WhyResponse& response);

// The same of a decision on a test, of a node or of the fleet.
void explain_test(const v1::Decision& decision, v1::WhyResponse& response);

// What a node's own test holds, as an end of its line; empty when it holds nothing.
std::string describe_test(const v1::UpstreamCounters& upstream);

}  // namespace penstock::controller
