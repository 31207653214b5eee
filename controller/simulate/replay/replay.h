#pragma once

#include <string>
#include <vector>

#include "controller/simulate/replay/recording.h"
#include "penstock/decision/policy.h"
#include "penstock/v1/admin.pb.h"

// What a policy would have decided on what was recorded: the code that decides, fed with samples instead of calls.
//
//   pools      decision::size_pool and the controller's steps, on the recorded rates, latencies and calls in flight:
//              as the controller would have decided, but for memory per request, which is assumed.
//   breakers   decision::CircuitBreaker, on calls made up from the recorded counts and latencies: so many ended between
//              two samples, each latency within its bucket, evenly spread.
//   causes     decision::FleetTest on the sums of all nodes, looking only: that it would have tested, and when.
//
// A record holds what happened under the policies of then. What another policy would have let through, held back or
// found out by cutting, and what that had done to latencies, no record can tell: Replayed::unknown says so.
namespace penstock::simulate {

struct Replayed {
  // Oldest first, all of them marked as shadow.
  std::vector<v1::Decision> decisions;
  // What this recording does not tell, a sentence each.
  std::vector<std::string> unknown;
  int nodes = 0;
  int pools = 0;
  int upstreams = 0;
};

// `from` and `to` in seconds since the Unix epoch, `step` between two samples.
Replayed replay(const decision::Policy& policy, const Recording& recording, double from, double to, double step);

// Its parts.
void replay_pools(const decision::Policy& policy, const Recording& recording, double step, Replayed& out);
void replay_breakers(const decision::Policy& policy, const Recording& recording, double from, double to, Replayed& out);
void replay_causes(const decision::Policy& policy, const Recording& recording, double from, double to, Replayed& out);

// A decision of the replay at this time.
v1::Decision made_at(double time, const decision::Policy& policy, std::string kind, std::string name, std::string node);

}  // namespace penstock::simulate
