#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "penstock/decision/time.h"

// Randomness that is the same on every machine: the generator and the distributions are written out here, because those
// of the standard library differ between implementations.
namespace penstock::simulate {

// xoshiro256** (D. Blackman, S. Vigna, "Scrambled linear pseudorandom number generators", 2018), seeded by splitmix64.
class Random {
 public:
  // Each actor draws from a stream of its own, so that what one does moves no other's dice.
  Random(std::uint64_t seed, std::string_view stream);

  std::uint64_t bits();
  // In [0, 1).
  double uniform() { return static_cast<double>(bits() >> 11) * 0x1.0p-53; }
  double uniform(double low, double high) { return low + (high - low) * uniform(); }
  // True with probability `p`.
  bool chance(double p) { return uniform() < p; }
  // In [0, below); below > 0.
  std::uint32_t below(std::uint32_t below) { return static_cast<std::uint32_t>(uniform() * below); }
  double exponential(double mean);
  // Of mean 0 and deviation 1, by G. Marsaglia's polar method.
  double normal();
  // With that median; `sigma` is the deviation of the logarithm.
  double log_normal(double median, double sigma);
  decision::Duration log_normal(decision::Duration median, double sigma);
  decision::Duration exponential(decision::Duration mean);
  // Number of events of a Poisson process that has `mean` of them on average.
  std::uint32_t poisson(double mean);

 private:
  std::array<std::uint64_t, 4> state_;
  double spare_ = 0;
  bool has_spare_ = false;
};

}  // namespace penstock::simulate
