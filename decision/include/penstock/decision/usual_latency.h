#pragma once

#include <cmath>
#include <cstdint>

#include "penstock/decision/time.h"

namespace penstock::decision {

// Latency when all is well, W_b: means of kWindow calls; down by half of the way with each lower mean, up by 0.2 % a
// window, because trouble must not become usual. Half of the way and not all of it: the least of many means of a
// heavy-tailed latency lies far below what is usual.
class UsualLatency {
 public:
  void add(Duration latency) { add(latency, 1); }
  // The sum of the latencies of so many calls.
  void add(Duration sum, std::int64_t calls) {
    if (calls == 0) return;
    sum_ += seconds(sum);
    calls_ += calls;
    if (calls_ < kWindow) {
      if (usual_ == 0) first_ = sum_ / static_cast<double>(calls_);
      return;
    }
    const double windows = static_cast<double>(calls_) / kWindow;
    const double mean = sum_ / static_cast<double>(calls_);
    const double grown = usual_ * std::pow(kGrowth, windows);
    usual_ = usual_ == 0 || mean >= grown ? (usual_ == 0 ? mean : grown) : grown + kDown * (mean - grown);
    sum_ = 0;
    calls_ = 0;
  }
  // What was added since the last full window is forgotten: trouble has begun in it.
  void drop_window() {
    if (usual_ == 0) return;
    sum_ = 0;
    calls_ = 0;
  }
  // Zero before the first call.
  Duration get() const { return from_seconds(usual_ == 0 ? first_ : usual_); }

 private:
  static constexpr int kWindow = 60;
  static constexpr double kGrowth = 1.002;
  static constexpr double kDown = 0.5;
  double usual_ = 0;
  double first_ = 0;
  double sum_ = 0;
  std::int64_t calls_ = 0;
};

}  // namespace penstock::decision
