#pragma once

#include <time.h>

#include <algorithm>
#include <array>
#include <cstddef>

namespace penstock::bench {

// That the calling thread ran: others may have its core in between.
inline double thread_nanoseconds() {
  timespec used{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &used);
  return 1e9 * static_cast<double>(used.tv_sec) + static_cast<double>(used.tv_nsec);
}

template <class Fn>
double nanoseconds_each(int count, Fn fn) {
  const double start = thread_nanoseconds();
  fn();
  return (thread_nanoseconds() - start) / count;
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
