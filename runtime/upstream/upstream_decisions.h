#pragma once

#include <string>

#include "penstock/decision/cause_test.h"
#include "penstock/decision/circuit_breaker.h"
#include "penstock/decision/token_bucket.h"
#include "penstock/decision/upstream_guard.h"
#include "penstock/node_decision.h"
#include "penstock/upstream.h"

// What the guard of an upstream decided, as nodes log and stream it.
namespace penstock {

NodeDecision cause_decision(const std::string& upstream, const decision::CauseTest::Decision& decision, bool shadow);
NodeDecision rate_decision(const std::string& upstream, const decision::TokenBucket& bucket, Instant now, bool shadow);
// `bound`: memory bounds the calls from now on; else no longer.
NodeDecision bulkhead_decision(const std::string& upstream, bool bound, int limit, bool shadow);
NodeDecision breaker_decision(const std::string& upstream, const decision::CircuitBreaker::Transition& transition,
                              bool shadow);

}  // namespace penstock
