#pragma once

#include <algorithm>

#include "penstock/decision/time.h"

namespace penstock::decision {

// Latency when all is well: means of 60 calls, down at once, up by 0.2 % a window, because trouble must not become
// usual (the baseline W_b of the node's loop).
class UsualLatency {
 public:
  void add(Duration latency) {
    sum_ += seconds(latency);
    if (++calls_ < kWindow) {
      if (usual_ == 0) first_ = sum_ / calls_;
      return;
    }
    const double mean = sum_ / calls_;
    usual_ = usual_ == 0 ? mean : std::min(mean, usual_ * kGrowth);
    sum_ = 0;
    calls_ = 0;
  }
  // Zero before the first call.
  Duration get() const { return from_seconds(usual_ == 0 ? first_ : usual_); }

 private:
  static constexpr int kWindow = 60;
  static constexpr double kGrowth = 1.002;
  double usual_ = 0;
  double first_ = 0;
  double sum_ = 0;
  int calls_ = 0;
};

}  // namespace penstock::decision
