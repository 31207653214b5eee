#pragma once

#include "absl/status/status.h"

namespace penstock::controller {

class Database;

// Brings the tables to the version of this program, a step a version, each in one transaction. FAILED_PRECONDITION when
// a newer program wrote them.
absl::Status migrate(Database& database);

}  // namespace penstock::controller
