#pragma once

#include <optional>

#include "penstock/decision/policy.h"
#include "penstock/decision/time.h"

// What published limiters have in common: something is let in or not, and they are told how it ended.
namespace penstock::simulate {

using decision::Duration;
using decision::Instant;

// Of the node.
struct Load {
  // In [0, 1]: share of the CPU that was in use over the last tick.
  double cpu_busy;
  // Runnable fibers or threads, those on a core included, for each core.
  double runnable_per_core;
  // Mean time from runnable to running, of what began to run in the last tick.
  Duration run_delay;
  // Requests that were started, and those that wait to be.
  int in_flight;
  int queued;
};

struct Arrival {
  Instant now;
  // Let in before and not ended yet.
  int in_flight;
  decision::Priority priority;
  // Uniform in [0, 1), drawn by the caller.
  double chance;
};

enum class Fate {
  ok,
  error,
  timeout,
  cancelled,
  // By the other side: 429, 503.
  refused,
};

struct Ended {
  Instant now;
  Instant started;
  // Of its arrival: without itself.
  int in_flight_at_start;
  Fate fate;
};

// Not thread-safe; deterministic.
class Limiter {
 public:
  virtual ~Limiter() = default;
  // A true is followed by one ended().
  virtual bool admit(const Arrival&) = 0;
  virtual void ended(const Ended&) = 0;
  // Every 100 ms.
  virtual void tick(Instant, const Load&) {}
  // Of those that bound a number.
  virtual std::optional<double> limit() const { return std::nullopt; }
  // Of those that cut off: whether they do now.
  virtual bool open() const { return false; }
};

}  // namespace penstock::simulate
