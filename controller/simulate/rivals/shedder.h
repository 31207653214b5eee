#pragma once

#include "controller/simulate/rivals/limiter.h"

namespace penstock::simulate {

// Turns away some of what would have to wait before a limit.
class Shedder {
 public:
  struct Queue {
    int waiting;
    int in_flight;
    double limit;
    // When nobody waited.
    Instant last_empty;
  };
  virtual ~Shedder() = default;
  virtual bool refuses(const Arrival& arrival, const Queue& queue) = 0;
  // One came before the limit and was not refused; one of those went through.
  virtual void entered() {}
  virtual void went_through() {}
  // Every 100 ms.
  virtual void tick(Instant, const Queue&) {}
};

}  // namespace penstock::simulate
