#include "runtime/upstream/upstream_decisions.h"

#include <spdlog/fmt/fmt.h>

#include <optional>

namespace penstock {

using decision::Cause;
using decision::seconds;

namespace {

NodeDecision about(const std::string& upstream, std::string action, std::string reason, bool shadow) {
  NodeDecision made;
  made.kind = "upstream";
  made.name = upstream;
  made.action = std::move(action);
  made.reason = std::move(reason);
  made.shadow = shadow;
  return made;
}

}  // namespace

NodeDecision cause_decision(const std::string& upstream, const decision::CauseTest::Decision& decision, bool shadow) {
  NodeDecision made = about(upstream, "test", std::string(to_string(decision.to)), shadow);
  made.verdict = to_string(decision.verdict);
  if (decision.verdict == Cause::theirs || decision.verdict == Cause::ours) made.confidence = decision.confidence;
  made.message = decision.sentence;
  made.formula = decision.formula;
  made.would_change = decision.would_change;
  const decision::Evidence& e = decision.evidence;
  made.evidence = {{"r", e.r},
                   {"f", e.f},
                   {"z", e.z},
                   {"x_ref", e.x_ref},
                   {"calls", e.calls},
                   {"calls_ref", e.calls_ref},
                   {"latency", seconds(e.w)},
                   {"usual_latency", seconds(e.w_b)},
                   {"patience", seconds(e.patience)},
                   {"deficit", e.deficit},
                   {"in_flight", e.in_flight},
                   {"memory_pressure", e.memory_pressure},
                   {"run_delay", seconds(e.run_delay)}};
  if (decision.limit) made.evidence.emplace_back("limit", *decision.limit);
  return made;
}

NodeDecision rate_decision(const std::string& upstream, const decision::TokenBucket& bucket, Instant now, bool shadow) {
  NodeDecision made = about(upstream, "rate", bucket.active() ? "obeyed" : "released", shadow);
  const double refused = bucket.refused_share(now);
  made.verdict = to_string(bucket.active() ? Cause::full : Cause::none);
  made.evidence = {{"refused", refused}};
  if (bucket.active()) {
    made.message = fmt::format("the upstream refuses {:.0f} % of the calls: {:.1f} a second go out", refused * 100,
                               *bucket.rate());
    made.would_change = "nothing is refused and no call held back for 5 s";
    made.evidence.emplace_back("rate", *bucket.rate());
  } else {
    made.message =
        "the upstream has refused nothing, and no call was held back, for a while: calls go out as they come";
  }
  return made;
}

NodeDecision bulkhead_decision(const std::string& upstream, bool bound, int limit, bool shadow) {
  NodeDecision made = about(upstream, "limit", bound ? "bulkhead" : "released", shadow);
  made.message = bound ? fmt::format("the memory that is left bounds the calls in and waiting for it to {}", limit)
                       : "memory no longer bounds the calls";
  if (bound) made.evidence = {{"limit", limit}};
  return made;
}

NodeDecision breaker_decision(const std::string& upstream, const decision::CircuitBreaker::Transition& transition,
                              bool shadow) {
  using decision::BreakerState;
  const char* action = transition.to == BreakerState::open     ? "trip"
                       : transition.to == BreakerState::closed ? "close"
                                                               : "half_open";
  NodeDecision made = about(upstream, action, transition.reason, shadow);
  // Whether it is dead shows later: the test for causes tells.
  if (transition.to == BreakerState::open && transition.reason == "usefulness") {
    made.verdict = to_string(Cause::unidentified);
  }
  made.message = transition.message;
  return made;
}

}  // namespace penstock
