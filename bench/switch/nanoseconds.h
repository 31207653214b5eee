#pragma once

#include <algorithm>
#include <array>
#include <chrono>
#include <cstddef>

namespace penstock::bench {

template <class Fn>
double nanoseconds_each(int count, Fn fn) {
  const auto start = std::chrono::steady_clock::now();
  fn();
  return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count() / count;
}

// What something that is little adds to what is more: measure(true) less measure(false), each the median of many short
// measurements in turn.
template <class Fn>
double added_ns(Fn measure) {
  std::array<std::array<double, 21>, 2> samples;
  for (std::size_t i = 0; i < samples[0].size(); ++i) {
    for (bool with : {false, true}) samples[with][i] = measure(with);
  }
  for (auto& all : samples) std::sort(all.begin(), all.end());
  return samples[true][10] - samples[false][10];
}

}  // namespace penstock::bench
