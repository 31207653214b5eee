#pragma once

#include <cstddef>

namespace penstock::decision {

// Tells the processor that [from, to) will be read soon. A hint: it neither reads nor faults.
inline void prefetch(const void* from, const void* to) {
  constexpr std::size_t kLine = 64;
  const auto* end = static_cast<const char*>(to);
  for (const auto* at = static_cast<const char*>(from); at < end; at += kLine) __builtin_prefetch(at);
  // The last line, where the range does not begin on one.
  __builtin_prefetch(end - 1);
}

}  // namespace penstock::decision
