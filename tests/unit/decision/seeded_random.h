#pragma once

#include <cmath>
#include <cstdint>
#include <random>

namespace penstock::decision {

// The same numbers on every platform, which the standard distributions do not promise.
class SeededRandom {
 public:
  explicit SeededRandom(std::uint64_t seed) : engine_(seed) {}
  // In (0,1).
  double uniform() { return (static_cast<double>(engine_() >> 11) + 0.5) * 0x1p-53; }
  double uniform(double from, double to) { return from + (to - from) * uniform(); }
  int below(int n) { return static_cast<int>(uniform() * n); }
  bool chance(double p) { return uniform() < p; }
  double exponential(double mean) { return -mean * std::log(uniform()); }
  double log_normal(double median, double sigma) {
    const double normal = std::sqrt(-2 * std::log(uniform())) * std::cos(6.283185307179586 * uniform());
    return median * std::exp(sigma * normal);
  }

 private:
  std::mt19937_64 engine_;
};

}  // namespace penstock::decision
