#pragma once

#include "controller/simulate/rivals/limiter.h"

namespace penstock::simulate {

// What a limiter stands before: so many servers with one queue, or unlimited ones.
struct Station {
  // 0: as many as are asked for.
  int servers = 0;
  // Mean time of service, seconds; its spread is that of a logarithmic normal distribution.
  double service = 0.1;
  double sigma = 0.1;
  // Instead of `service` from then on.
  double later_service = 0;
  double later_from = 1e9;
};

// Means over the second half.
struct Driven {
  // Answered, and let in, a second.
  double throughput = 0;
  double admitted = 0;
  double offered = 0;
  double latency = 0;
  double limit = 0;
  double in_flight = 0;
};

// Offers `rate` a second, spread as a Poisson process.
Driven drive(Limiter& limiter, const Station& station, double rate, double seconds);

}  // namespace penstock::simulate
