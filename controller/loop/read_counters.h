#pragma once

#include "penstock/decision/circuit_breaker.h"
#include "penstock/decision/upstream_signals.h"
#include "penstock/v1/agent.pb.h"

// What nodes stream, as the tests for causes take it in.
namespace penstock::controller {

// Whether a node can have counted this. What counts nonsense, by a bug or on purpose, must not be summed up with what
// the others count.
bool can_be(const v1::Counters& counted);
bool can_be(const v1::UpstreamCounters& counted);

// False when something was counted down: it began anew.
bool read_counts(const v1::UpstreamCounters& from, decision::UpstreamCounts& to);

decision::BreakerState to_state(v1::BreakerState state);

}  // namespace penstock::controller
