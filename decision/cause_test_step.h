#pragma once

#include <chrono>
#include <cstdint>

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
// A limit that is used less than this does not, however many wait at the moment.
inline constexpr double kHalfUsed = 0.5;
// After "theirs": longer with each in a row. After a test that told nothing.
inline constexpr Duration kHoldOff = std::chrono::seconds(8);
inline constexpr int kHoldOffGrowth = 3;
inline constexpr Duration kLongestHoldOff = std::chrono::seconds(240);
inline constexpr Duration kHoldOffUnidentified = std::chrono::seconds(3);
// Nodes notice the same trouble within some seconds of each other; nearly all of them cut at the same mark then.
inline constexpr Duration kMark = std::chrono::seconds(4);
inline constexpr Duration kRetestMark = std::chrono::seconds(8);
// More answers than calls, by so many standard errors: no capacity is missing.
inline constexpr double kSurplusZ = 2.5;
// Answers behind a reference, and its length, at least.
inline constexpr std::int64_t kFewestReference = 8;
inline constexpr Duration kShortestReference = std::chrono::milliseconds(600);
inline constexpr std::int64_t kEnoughReference = 12;
inline constexpr Duration kLongestReference = std::chrono::seconds(3);
// Throughput that holds.
inline constexpr double kHolds = 0.85;

// A limit that calls do not come up to tells nothing.
inline bool too_few_came(const UpstreamSignals::Span& span, const UpstreamCounts& counts, int limit) {
  return span.in_flight < kBinding * limit && (counts.waiting == 0 || span.in_flight < kHalfUsed * limit);
}

}  // namespace penstock::decision
