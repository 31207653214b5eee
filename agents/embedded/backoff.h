#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <random>

namespace penstock::agent {

// Exponential back-off with jitter: each delay is drawn from [half, whole] of a base that doubles from `min` to `max`.
class Backoff {
 public:
  Backoff(std::chrono::milliseconds min, std::chrono::milliseconds max, std::uint64_t seed)
      : min_(min), max_(max), base_(min), random_(seed) {}

  std::chrono::milliseconds next() {
    const auto base = base_;
    base_ = std::min(max_, base_ * 2);
    std::uniform_int_distribution<std::int64_t> draw(base.count() / 2, base.count());
    return std::chrono::milliseconds(draw(random_));
  }
  void reset() { base_ = min_; }

 private:
  std::chrono::milliseconds min_;
  std::chrono::milliseconds max_;
  std::chrono::milliseconds base_;
  std::mt19937_64 random_;
};

}  // namespace penstock::agent
