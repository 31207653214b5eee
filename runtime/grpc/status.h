#pragma once

#include <grpc/support/time.h>
#include <grpcpp/support/status.h>

#include <optional>

#include "penstock/error.h"
#include "penstock/upstream.h"

namespace penstock::grpc {

::grpc::Status status_of(const Rejected& rejected);

// How an RPC that ended with this counts for its upstream; RESOURCE_EXHAUSTED is a refusal instead.
CallOutcome outcome_of(::grpc::StatusCode code);

// gRPC's monotonic clock read as ours, and the other way; infinity is Instant::max().
Instant to_instant(gpr_timespec time);
gpr_timespec to_timespec(Instant time);

}  // namespace penstock::grpc
