#pragma once

#include "penstock/decision/cause_test.h"

namespace penstock::decision {

// One tick, as every part of the test sees it.
struct CauseTest::Step {
  const UpstreamSignals& signals;
  const CauseContext& context;
  Instant now;

  const UpstreamCounts& counts() const { return signals.now(); }
};

// --- constants that more than one part of the test reads

// Calls in flight below which nothing is tested.
inline constexpr int kFewestInFlight = 8;
// Up to this W / W_b latency is usual.
inline constexpr double kUsualRatio = 1.5;
// How much of a limit must be in use for it to bind.
inline constexpr double kBinding = 0.85;
// Throughput that holds.
inline constexpr double kHolds = 0.85;

}  // namespace penstock::decision
