#pragma once

#include <cstddef>
#include <cstdint>

// Where a thread counts: the first scheduler threads have a shard each, which nobody else writes; all other threads
// share the last one.
namespace penstock::telemetry {

inline constexpr std::size_t kCacheLine = 64;
// Processors fetch lines in pairs: what one thread writes all the time stands so far from what others do.
inline constexpr std::size_t kApart = 2 * kCacheLine;

struct Shard {
  std::uint32_t index;
  // Nobody else writes there while this thread lives: plain loads and stores do.
  bool own;
};

inline constexpr std::size_t kMostShards = 257;
// Constant for the life of the process.
std::size_t shard_count();

// Calls read(shard) for each of them while all are locked, so that what is read belongs together. Must not throw.
template <class Shard, class Read>
void read_together(Shard* shards, Read&& read) {
  const std::size_t count = shard_count();
  for (std::size_t i = 0; i < count; ++i) shards[i].lock.lock();
  for (std::size_t i = 0; i < count; ++i) read(static_cast<const Shard&>(shards[i]));
  for (std::size_t i = 0; i < count; ++i) shards[i].lock.unlock();
}

namespace internal {
// Index of the calling thread's own shard, plus one; 0: none yet.
extern constinit thread_local std::uint32_t own_shard;
Shard claim_shard() noexcept;
}  // namespace internal

// Of the calling thread.
inline Shard shard() noexcept {
  const std::uint32_t own = internal::own_shard;
  return own != 0 ? Shard{own - 1, true} : internal::claim_shard();
}

}  // namespace penstock::telemetry
