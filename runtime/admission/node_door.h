#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "penstock/decision/cpu_guard.h"
#include "penstock/decision/memory_guard.h"
#include "penstock/decision/policy.h"
#include "penstock/metrics.h"
#include "penstock/node_decision.h"
#include "penstock/spin_lock.h"
#include "runtime/fiber/scheduler.h"
#include "runtime/telemetry/shards.h"

namespace penstock {

// Where requests enter a node, before their pools.
//
// CPU: a request whose own fiber was ready for kSaturated before it ran goes to its thread's decision::CpuGuard, as do
// all that come while somebody waits there. Each scheduler thread has its own, because a fiber never changes thread: no
// lock, and with a CPU to spare no more than two comparisons for a request.
// Memory: see decision::MemoryGuard.
class NodeDoor {
 public:
  static constexpr Duration kSaturated = std::chrono::milliseconds(20);
  // Starts a fiber on that scheduler thread.
  using Spawn = std::function<void(unsigned thread, std::string_view name, std::function<void()> fn)>;

  explicit NodeDoor(MetricsRegistry& metrics);
  ~NodeDoor();
  NodeDoor(const NodeDoor&) = delete;

  // Once, before requests come.
  void open(unsigned threads, Spawn spawn);
  void apply(const decision::GuardsPolicy& policy, bool shadow);
  // Of the CPU, when it is saturated: decision/shares.h.
  void set_shares(const std::vector<double>& weights);

  // On a scheduler thread, before the request is started. Waits for the CPU, at most until the fiber's deadline. Throws
  // Rejected: shed (memory, or a higher priority came), limit (too many wait), queue_timeout, deadline; Cancelled.
  void enter(decision::Priority priority, decision::Tenant tenant = decision::kOthers);
  // Whether memory is so short that nothing should be kept for requests that have yet to come to the door.
  bool short_of_memory() const noexcept { return short_.load(std::memory_order_relaxed); }
  // Of a request for which more would have to be kept while memory is short: throws Rejected (shed) as enter() does.
  // True: it would, but only observes.
  bool refuse_for_memory(decision::Priority priority);
  // On the same thread, of a request that has ended: the CPU that it used.
  void served(Duration cpu) {
    const fiber::Scheduler* scheduler = fiber::Scheduler::current();
    if (scheduler != nullptr && scheduler->index() < lanes_.size()) serve(*lanes_[scheduler->index()], cpu);
  }

  // Every 100 ms. What is to be told: the guards began or ceased to act.
  std::vector<NodeDecision> tick(Instant now, const decision::MemoryState& memory, int in_flight, Duration run_delay);
  int waiting() const;

 private:
  struct Lane;
  struct Serving;
  static void serve(Lane& lane, Duration cpu);
  void enter_slowly(Lane& lane, decision::Priority priority, decision::Tenant tenant);
  void wait_for_cpu(Lane& lane, decision::Priority priority, decision::Tenant tenant);
  void take_shares(Lane& lane);
  void let_in(Lane& lane);
  NodeDecision told(bool acts, const char* guard, std::string message) const;

  Counter& held_;
  Counter& refused_for_cpu_;
  Counter& refused_for_memory_;
  Spawn spawn_;
  std::vector<std::unique_ptr<Lane>> lanes_;

  // Memory is short; and more requests are in flight than it bears.
  std::atomic<bool> short_{false};
  std::atomic<bool> closed_{false};
  std::atomic<decision::GuardMode> cpu_mode_{decision::GuardMode::act};
  std::atomic<decision::GuardMode> memory_mode_{decision::GuardMode::act};
  std::atomic<bool> nearly_full_{false};
  // Grows with each set_shares().
  std::atomic<std::uint32_t> shares_revision_{0};
  SpinLock shares_lock_;
  std::vector<double> weights_{1.0};

  // Of tick().
  decision::MemoryGuard memory_;
  bool told_memory_ = false;
  bool told_cpu_ = false;
  int busy_ticks_ = 0;
  Instant busy_at_{};
  Instant closed_at_{};
  double held_before_ = 0;
  double refused_before_ = 0;
};

// On its thread only, but for the count.
struct alignas(telemetry::kApart) NodeDoor::Lane {
  explicit Lane(unsigned thread, int longest_queue)
      : thread(thread), guard(1, longest_queue, decision::CpuGuard::kLongestWait) {}

  const unsigned thread;
  decision::CpuGuard guard;
  decision::Verdicts decided;
  int waiting = 0;
  bool served = false;
  std::uint32_t shares_revision = 0;
  std::atomic<int> shown{0};
};

inline void NodeDoor::serve(Lane& lane, Duration cpu) { lane.guard.served(cpu); }

inline void NodeDoor::enter(decision::Priority priority, decision::Tenant tenant) {
  const fiber::Scheduler* scheduler = fiber::Scheduler::current();
  if (scheduler == nullptr || scheduler->index() >= lanes_.size()) return;
  Lane& lane = *lanes_[scheduler->index()];
  if (scheduler->last_delay() < kSaturated && lane.waiting == 0 && !closed_.load(std::memory_order_relaxed)) return;
  enter_slowly(lane, priority, tenant);
}

}  // namespace penstock
