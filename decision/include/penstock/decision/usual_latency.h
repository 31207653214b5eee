#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "penstock/decision/time.h"

namespace penstock::decision {

// Latency when all is well, W_b: means of kWindow calls; down by half of the way with each lower mean, up by 0.2 % a
// window, because trouble must not become usual. Half of the way and not all of it: the least of many means of a
// heavy-tailed latency lies far below what is usual.
//
// What others know from better times (baseline.h) is usual until kLearned windows were seen, and bounds what is learned
// to kBound times of it: a node that starts while the upstream is slow, or an upstream that is slower by a little every
// minute, would teach that this is how it is. Twice, because nodes differ in how far they are from an upstream; with
// trouble from 2.5 times what is usual on, five times the latency of such an hour is always trouble.
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
    if (expected_ > 0) usual_ = std::min(usual_, kBound * expected_);
    windows_ = std::min(windows_ + windows, kLearned);
    sum_ = 0;
    calls_ = 0;
  }
  // By what others know; zero: they do not. What they knew before goes on as if it had been learned.
  void expect(Duration latency) {
    const double expected = seconds(latency);
    if (expected == 0 && expected_ > 0 && windows_ < kLearned) usual_ = expected_;
    expected_ = expected;
    if (expected_ > 0) usual_ = std::min(usual_, kBound * expected_);
  }
  Duration expected() const { return from_seconds(expected_); }
  // What was added since the last full window is forgotten: trouble has begun in it.
  void drop_window() {
    if (usual_ == 0 && expected_ == 0) return;
    sum_ = 0;
    calls_ = 0;
  }
  // Zero before the first call, unless it is expected.
  Duration get() const { return from_seconds(by_expectation() ? expected_ : usual_ == 0 ? first_ : usual_); }
  // It is not known from own calls yet.
  bool by_expectation() const { return expected_ > 0 && windows_ < kLearned; }

 private:
  static constexpr int kWindow = 60;
  static constexpr double kGrowth = 1.002;
  static constexpr double kDown = 0.5;
  static constexpr double kLearned = 3;
  static constexpr double kBound = 2;
  double usual_ = 0;
  double expected_ = 0;
  double windows_ = 0;
  double first_ = 0;
  double sum_ = 0;
  std::int64_t calls_ = 0;
};

}  // namespace penstock::decision
