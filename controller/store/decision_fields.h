#pragma once

#include <boost/json/object.hpp>

#include "penstock/v1/admin.pb.h"

namespace penstock::controller {

// A decision as its line in the process log has it: docs/operations.md names the fields. Empty ones are left out.
boost::json::object decision_fields(const v1::Decision& decision);

}  // namespace penstock::controller
