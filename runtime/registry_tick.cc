#include <spdlog/spdlog.h>

#include <algorithm>
#include <chrono>
#include <string>
#include <utility>

#include "penstock/decision/memory_guard.h"
#include "penstock/fiber.h"
#include "runtime/admission/pool_access.h"
#include "runtime/registry.h"
#include "runtime/telemetry/free_memory.h"
#include "runtime/telemetry/process_metrics.h"
#include "runtime/upstream/upstream_access.h"

// The node's loop: ten times a second.
namespace penstock {

using namespace std::chrono_literals;

namespace {

constexpr auto kTick = 100ms;
constexpr auto kComplainEvery = 5s;
// Of the limit, in use: what the allocator keeps is given back, where it is that part of the limit, at most so often.
constexpr double kNearLimit = 0.75;
constexpr std::int64_t kWorthGivingBack = 20;
constexpr auto kGiveBackEvery = 1s;
// Resident memory is not asked for at each tick: where less than this part of the limit is in use, and about as many
// requests are in flight as when it was last asked for, it is left alone for so long.
constexpr double kPlenty = 0.5;
constexpr auto kLeftAlone = 300ms;
constexpr int kAboutAsMany = 16;

Instant steady_now() { return std::chrono::steady_clock::now(); }

}  // namespace

void Registry::run_ticker() {
  Instant next_complaint{};
  for (Instant next = steady_now();;) {
    next = std::max(next + kTick, steady_now());
    sleep_until(next);
    try {
      tick(steady_now());
    } catch (const std::exception& e) {
      // Out of memory, most likely. Breakers must go on being judged.
      if (const Instant now = steady_now(); now >= next_complaint) {
        next_complaint = now + kComplainEvery;
        spdlog::error("a tick of pools and breakers failed: {}", e.what());
      }
    }
  }
}

void Registry::tick(Instant now) {
  if (ticked_version_ != revision()) list_ticked(now);
  std::int64_t budget = 0;
  int in_pools = 0;
  for (const Pool* pool : ticked_pools_) {
    budget += PoolAccess::memory_bytes(*pool);
    in_pools += pool->in_flight() + pool->queue_length();
  }
  const int in_calls = ticker_.collect(now);
  // Work that no pool admitted shows in its calls only.
  const int in_flight = std::max(in_pools, in_calls);
  if (asks_for_memory(now, in_flight)) {
    resident_bytes_ = resident_memory(now);
    resident_at_ = now;
    resident_in_flight_ = in_flight;
    memory_.sample(resident_bytes_, in_flight);
  }
  const std::int64_t resident = resident_bytes_;
  const std::int64_t each = memory_.bytes_per_request();
  decision::MemoryState memory{
      .used = resident,
      .base = std::min(memory_.base_bytes(), resident),
      .limit = memory_limit_.load(std::memory_order_relaxed),
      .budget = budget,
      .in_requests = in_flight * each,
  };
  const std::int64_t for_requests = decision::memory_for_requests(memory);
  const Duration run_delay = measure_run_delay();
  for (NodeDecision& decision : door_.tick(now, memory, in_pools, run_delay)) {
    attribute(decision);
    record(decision);
  }
  // What ended requests left to the allocator is not scarce.
  memory.used = std::min(memory.used, memory.base + 2 * memory.in_requests);
  const double pressure = decision::memory_pressure(memory);
  memory_pressure_.store(pressure, std::memory_order_relaxed);
  // The fleet's nodes test together: at marks of the wall clock.
  const Duration wall = std::chrono::system_clock::now().time_since_epoch();
  const NodeTick tick{
      .tick = {.now = now, .wall = wall, .memory_pressure = pressure, .bulkhead = 0, .run_delay = run_delay},
      .memory = for_requests,
      .in_flight = in_flight,
      .bytes_per_request = each,
  };
  const bool in_trouble = ticker_.tick(tick);
  tick_watching(tick);
  in_trouble_.store(in_trouble, std::memory_order_relaxed);
  for (Pool* pool : ticked_pools_) {
    // Of less memory than the pools were promised, each has its share.
    const double share = static_cast<double>(for_requests) / static_cast<double>(budget);
    PoolAccess::tick(*pool, now, each, std::min(1.0, share));
  }
}

// A version that comes meanwhile is listed by the next tick.
void Registry::list_ticked(Instant now) {
  const std::uint64_t version = revision();
  ticked_pools_ = pools();
  ticker_.list(upstreams(), now);
  ticked_version_ = version;
}

// It takes the kernel as long as all else in a tick of a quiet node.
bool Registry::asks_for_memory(Instant now, int in_flight) const {
  const std::int64_t limit = memory_limit_.load(std::memory_order_relaxed);
  const bool plenty = limit <= 0 || static_cast<double>(resident_bytes_) < kPlenty * static_cast<double>(limit);
  return !plenty || now - resident_at_ > kLeftAlone ||
         in_flight > resident_in_flight_ + std::max(kAboutAsMany, resident_in_flight_ / 8);
}

// What ended requests left to the allocator would look like memory in use for ever: near the limit it is given back.
std::int64_t Registry::resident_memory(Instant now) {
  auto resident = static_cast<std::int64_t>(resident_.bytes());
  const std::int64_t limit = memory_limit_.load(std::memory_order_relaxed);
  if (limit <= 0 || now < next_give_back_ || static_cast<double>(resident) < kNearLimit * static_cast<double>(limit)) {
    return resident;
  }
  next_give_back_ = now + kGiveBackEvery;
  if (telemetry::give_back_free_memory(limit / kWorthGivingBack)) {
    resident = static_cast<std::int64_t>(resident_.bytes());
  }
  return resident;
}

// Mean of what was told since the last tick; zero when nothing ran.
Duration Registry::measure_run_delay() {
  if (run_delays_ == nullptr) return Duration::zero();
  const std::uint64_t count = run_delays_->count();
  const double sum = run_delays_->sum_seconds();
  const std::uint64_t more = count - std::exchange(run_delay_count_, count);
  const double took = sum - std::exchange(run_delay_sum_, sum);
  const Duration mean = more > 0 ? decision::from_seconds(took / static_cast<double>(more)) : Duration::zero();
  run_delay_.store(mean.count(), std::memory_order_relaxed);
  return mean;
}

}  // namespace penstock
