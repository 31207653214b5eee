#pragma once

#include <grpcpp/support/server_callback.h>

#include "absl/status/status.h"
#include "controller/store/decision_log.h"
#include "penstock/v1/admin.pb.h"

namespace penstock::controller {

// The reactor of one WatchDecisions; owns itself. With an error in `allowed` it only answers that.
grpc::ServerWriteReactor<v1::Decision>* watch_decisions(DecisionLog& log, const v1::WatchDecisionsRequest& request,
                                                        const absl::Status& allowed);

}  // namespace penstock::controller
