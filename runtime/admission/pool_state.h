#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <utility>

#include "penstock/decision/admission.h"
#include "penstock/decision/policy.h"
#include "penstock/decision/request_memory.h"
#include "penstock/metrics.h"
#include "penstock/pool.h"
#include "penstock/spin_lock.h"
#include "runtime/admission/waiting.h"
#include "runtime/telemetry/shards.h"

namespace penstock {

// Places that one thread hands out by itself: the admission counts them as taken, so that the limit is exact whatever
// the shards do. A shard is open only while nobody waits, so that nobody is passed over; whoever finds no place
// anywhere else closes all shards and takes what they have, before it waits or is refused. A closed shard has nothing.
struct alignas(telemetry::kApart) Pool::Shard {
  SpinLock lock;
  // Guarded by lock. `open` changes under the pool's lock only, which is taken first.
  bool open = false;
  int credit = 0;
  std::uint64_t admitted = 0;
  std::uint64_t completed = 0;
  Duration busy{};
  // What the pool has not been told yet.
  decision::Ended ended;
  Duration ended_busy{};
};

struct Pool::State {
  State(const decision::PoolPolicy& given, MetricsRegistry& metrics);

  // Without the lock: a place that the calling thread's shard has.
  bool take();

  // Without the lock: a place goes back to the calling thread's shard, if it is open.
  bool put_back(Duration busy);

  // Runs change(decided) under the lock, then tells those whose fate it decided, also when it throws.
  template <class Change>
  void locked(Change&& change) {
    struct Telling {
      ~Telling() { WaitingTicket::deliver(std::move(decided)); }
      decision::Verdicts decided;
    } telling;
    std::lock_guard guard(lock);
    struct Counting {
      ~Counting() {
        for (const decision::Verdict verdict : decided) state.count(verdict.rejected);
      }
      State& state;
      const decision::Verdicts& decided;
    } counting{*this, telling.decided};
    change(telling.decided);
  }

  // What follows is called under the lock.

  // Takes in what the shards counted, and what they have of places: all, and closes them, or what is too much.
  void sweep(bool close, Instant at, decision::Verdicts& decided);

  // Lets the calling thread do by itself what follows, if there is place enough for all threads to do so.
  void open_shard();

  // Asks for a place, wherever one is free.
  decision::Admission::Answer offer(WaitingTicket& waiting, Instant at, decision::Verdicts& decided);

  void count_busy(int requests, Duration busy);

  int in_flight() const;

  void count(std::optional<RejectReason> outcome) {
    if (outcome) {
      ++rejected[static_cast<int>(*outcome)];
    } else {
      ++admitted;
    }
  }

  int limit_in_force() const;

  void update_limit(Instant at, decision::Verdicts& decided);

  // When one more of those that now wait may be admitted.
  Duration retry_after() const;

  [[noreturn]] void refuse(RejectReason reason, Duration retry_after) const;

  const std::string name;
  Histogram& queue_wait;
  Histogram& service_time;
  const std::unique_ptr<Shard[]> shards;

  // Apart from what every request reads.
  alignas(telemetry::kApart) mutable SpinLock lock;
  // Guarded by lock.
  decision::PoolPolicy policy;
  bool shadow = false;
  std::optional<int> imposed;
  std::int64_t bytes_per_request = decision::RequestMemory::kAssumed;
  // Of the policy's memory, what the node has for it.
  double memory_share = 1;
  decision::Admission admission;
  // Of what no shard counted.
  std::uint64_t admitted = 0;
  std::uint64_t completed = 0;
  Duration busy{};
  // Moving average over some hundred requests.
  double mean_busy_seconds = 0;
  std::uint64_t completed_in_mean = 0;
  int open_shards = 0;
  // Admissions and ends that took the lock.
  std::uint64_t slow_paths = 0;
  std::uint64_t rejected[decision::kRejectReasons]{};

 private:
  Shard& mine() const { return shards[telemetry::shard().index]; }
};

}  // namespace penstock
