#pragma once

#include <cstddef>

namespace penstock::telemetry {

inline constexpr std::size_t kCacheLine = 64;

// Shards of a hot metric: a power of two, at least one for each core. More scheduler threads than that share.
std::size_t shard_count();
// Of the calling thread.
std::size_t shard_index();

}  // namespace penstock::telemetry
