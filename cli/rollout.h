#pragma once

#include "cli/session.h"

namespace penstock::cli {

// The etag with which a change is accepted only if the newest revision of policy `name` is `revision` (0: none exists).
// Throws Failure (conflict) when it is another one already.
std::string etag_of_revision(Client& client, const std::string& name, std::int64_t revision);

// "policy/shop revision 3 applied" on stdout; with `wait`, returns once every node has acknowledged it. Throws Failure
// (timed out) when they have not within the timeout.
void report(Session& session, const v1::ApplyPolicyResponse& response, bool dry_run, bool wait);

}  // namespace penstock::cli
