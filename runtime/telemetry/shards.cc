#include "runtime/telemetry/shards.h"

#include <algorithm>
#include <bitset>
#include <mutex>
#include <thread>

#include "penstock/spin_lock.h"
#include "runtime/fiber/scheduler.h"

namespace penstock::telemetry {
namespace {

constexpr std::size_t kMost = kMostShards - 1;

struct Taken {
  SpinLock lock;
  std::bitset<kMost> shards;
};
constinit Taken taken;

// Gives the shard back when the thread ends; what runs on it after that shares the last one.
struct Lease {
  ~Lease() {
    if (internal::own_shard == 0) return;
    std::lock_guard guard(taken.lock);
    taken.shards.reset(internal::own_shard - 1);
    internal::own_shard = 0;
    ended = true;
  }
  bool ended = false;
};

}  // namespace

std::size_t shard_count() {
  static const std::size_t count = 1 + std::clamp<std::size_t>(std::thread::hardware_concurrency(), 4, kMost);
  return count;
}

namespace internal {

constinit thread_local std::uint32_t own_shard = 0;

Shard claim_shard() noexcept {
  const auto shared = static_cast<std::uint32_t>(shard_count() - 1);
  if (fiber::Scheduler::current() == nullptr) return {shared, false};
  static thread_local Lease lease;
  if (lease.ended) return {shared, false};
  std::lock_guard guard(taken.lock);
  for (std::uint32_t i = 0; i < shared; ++i) {
    if (taken.shards.test(i)) continue;
    taken.shards.set(i);
    own_shard = i + 1;
    return {i, true};
  }
  return {shared, false};
}

}  // namespace internal
}  // namespace penstock::telemetry
