#pragma once

#include "controller/simulate/rivals/limiter.h"

namespace penstock::simulate {

inline Instant at(double seconds) { return Instant{} + decision::from_seconds(seconds); }

// One that begins and ends, with so many besides it when it began.
struct Step {
  double from = 0;
  double to = 0;
  int besides = 0;
  Fate fate = Fate::ok;
};

inline bool let_in(Limiter& limiter, double now, double chance = 0.5) {
  return limiter.admit({.now = at(now), .in_flight = 0, .priority = decision::Priority::normal, .chance = chance});
}
inline void end(Limiter& limiter, const Step& step) {
  limiter.ended({.now = at(step.to), .started = at(step.from), .in_flight_at_start = step.besides, .fate = step.fate});
}
// Whether it was let in.
inline bool pass(Limiter& limiter, const Step& step) {
  if (!let_in(limiter, step.from)) return false;
  end(limiter, step);
  return true;
}

}  // namespace penstock::simulate
