#pragma once

#include <algorithm>

#include "controller/simulate/rivals/shedder.h"

namespace penstock::simulate {

// The queue of failsafe-go's adaptive limiter, which is off by default. Source: github.com/failsafe-go/failsafe-go,
// adaptivelimiter/queueinglimiter.go at 0a219068. With the limit used up, none is refused while less than `initial`
// limits wait, all from `max` limits on, and in between a share that grows evenly.
class FailsafeQueue final : public Shedder {
 public:
  // BuildPrioritized's defaults of WithQueueing.
  static constexpr double kInitial = 2;
  static constexpr double kMax = 3;

  static double share(const Queue& queue) {
    const int initial = static_cast<int>(queue.limit * kInitial);
    const int max = static_cast<int>(queue.limit * kMax);
    if (queue.waiting < initial) return 0;
    if (queue.waiting >= max) return 1;
    return static_cast<double>(queue.waiting - initial) / (max - initial);
  }
  bool refuses(const Arrival& arrival, const Queue& queue) override {
    return queue.in_flight >= queue.limit && arrival.chance < share(queue);
  }
};

}  // namespace penstock::simulate
