#pragma once

#include <memory>
#include <vector>

#include "penstock/decision/policy.h"
#include "penstock/metrics.h"
#include "penstock/pool.h"
#include "penstock/runtime.h"

namespace penstock {

// What the registry does with pools beyond their public interface. Thread-safe like it.
struct PoolAccess {
  // `metrics` outlives the pool.
  static std::unique_ptr<Pool> make(const decision::PoolPolicy& policy, MetricsRegistry& metrics);

  // Settings of a new policy. In shadow mode the limit is computed and exported, and refuses nothing.
  static void apply(Pool& pool, const decision::PoolPolicy& policy, bool shadow);
  // Who has which share of the places when they are short: decision/shares.h.
  static void set_shares(Pool& pool, const std::vector<double>& weights);
  // By number of the tenant: what waits, and the places that are held of those that are counted.
  struct Share {
    int waiting;
    double held;
  };
  static std::vector<Share> shares(const Pool& pool);
  // Decides those whose time is up, and sets the limit for the memory that requests use; `memory_share` of the pool's
  // memory is there.
  static void tick(Pool& pool, Instant now, std::int64_t bytes_per_request, double memory_share = 1);
  // Ends what set_limit() imposed: back to the fallback.
  static void release_limit(Pool& pool);

  static std::int64_t memory_bytes(const Pool& pool);
  static Runtime::PoolStats stats(const Pool& pool);
  // Admissions and ends that took the pool's lock, and so wrote what all threads share.
  static std::uint64_t slow_paths(const Pool& pool);
};

}  // namespace penstock
