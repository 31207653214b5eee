#pragma once

#include <cstdint>

namespace penstock::decision {

// Tells the processor that [from, to) will be read soon. A hint: it neither reads nor faults.
inline void prefetch(const void* from, const void* to) {
  constexpr std::uintptr_t kLine = 64;
  const auto end = reinterpret_cast<std::uintptr_t>(to);
  auto at = reinterpret_cast<std::uintptr_t>(from) / kLine * kLine;
  for (; at < end; at += kLine) __builtin_prefetch(reinterpret_cast<const void*>(at));
}

}  // namespace penstock::decision

// Code of a tick of many upstreams, put together so that the processor can be told of all of it: ten times a second it
// is in no cache, and code is fetched a line after the other.
#define PENSTOCK_TICKED [[gnu::section("penstock_tick")]]

// Where the linker put it.
extern "C" {
extern const char __start_penstock_tick[] __attribute__((visibility("hidden")));
extern const char __stop_penstock_tick[] __attribute__((visibility("hidden")));
}

namespace penstock::decision {

inline void prefetch_ticked() { prefetch(__start_penstock_tick, __stop_penstock_tick); }

}  // namespace penstock::decision
