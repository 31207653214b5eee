#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "penstock/decision/test_calendar.h"
#include "runtime/upstream/node_ticks.h"
#include "runtime/upstream/upstream_access.h"

namespace penstock {

// Ticks the upstreams of a node together: those that are called, and from time to time those that sleep (node_ticks.h).
// Not thread-safe; its upstreams are. Outlives their calls.
class UpstreamAccess::Ticker {
 public:
  // In place of those that it had, all of which are among them.
  void list(std::vector<Upstream*> upstreams, Instant now);

  // First half of a tick: takes in what threads have counted. Returns the calls that are in flight or wait.
  int collect(Instant now);
  // Second half, at the same time: has each judged. Returns whether one is much slower than usual, or under test.
  bool tick(const NodeTick& tick);
  const std::vector<Upstream*>& upstreams() const { return upstreams_; }

 private:
  NodeTicks ticks_;
  decision::TestCalendar calendar_;
  std::vector<Upstream*> upstreams_;
  // As many.
  std::unique_ptr<std::atomic<bool>[]> awake_;
  // Of this tick: all that are awake, and those of the others whose turn it is.
  std::vector<Upstream*> turns_;
};

}  // namespace penstock
