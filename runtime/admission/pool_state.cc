#include "runtime/admission/pool_state.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "penstock/decision/pool_sizing.h"

namespace penstock {

using decision::Admission;
using decision::Verdicts;

namespace {

constexpr int kUnbounded = std::numeric_limits<int>::max();
// Places that a shard is given at a time.
constexpr int kBatch = 32;

}  // namespace

Pool::State::State(const decision::PoolPolicy& given, MetricsRegistry& metrics)
    : name(given.name),
      queue_wait(metrics.histogram("penstock_pool_queue_wait_seconds",
                                   "Time from asking for a place until it was given or refused.", {{"pool", name}})),
      service_time(
          metrics.histogram("penstock_pool_request_seconds", "Time from admission to completion.", {{"pool", name}})),
      shards(new Shard[telemetry::shard_count()]),
      policy(given),
      admission(given.queue, decision::fallback_limit(given, decision::RequestMemory::kAssumed)) {}

bool Pool::State::take() {
  Shard& shard = mine();
  std::lock_guard guard(shard.lock);
  if (shard.credit == 0) return false;
  --shard.credit;
  ++shard.admitted;
  return true;
}

bool Pool::State::put_back(Duration busy) {
  Shard& shard = mine();
  std::lock_guard guard(shard.lock);
  if (!shard.open) return false;
  ++shard.credit;
  ++shard.completed;
  shard.busy += busy;
  shard.ended.add(busy);
  shard.ended_busy += busy;
  return true;
}

void Pool::State::sweep(bool close, Instant at, Verdicts& decided) {
  if (open_shards == 0) return;
  int places = 0;
  for (std::size_t i = 0; i < telemetry::shard_count(); ++i) {
    Shard& shard = shards[i];
    if (!shard.open) continue;
    std::lock_guard guard(shard.lock);
    const int kept = close ? 0 : std::min(shard.credit, 2 * kBatch);
    places += shard.credit - kept;
    shard.credit = kept;
    shard.open = !close;
    admission.tell(shard.ended, at);
    count_busy(shard.ended.count, shard.ended_busy);
    shard.ended = {};
    shard.ended_busy = {};
  }
  if (close) open_shards = 0;
  if (places != 0) admission.give_back(places, at, decided);
}

void Pool::State::open_shard() {
  if (admission.queue_length() != 0) return;
  const int free = admission.limit() - admission.in_flight();
  const int places = std::min(kBatch, free / static_cast<int>(2 * telemetry::shard_count()));
  if (places <= 0) return;
  Shard& shard = mine();
  std::lock_guard guard(shard.lock);
  shard.credit += admission.reserve(places);
  if (!std::exchange(shard.open, true)) ++open_shards;
}

Admission::Answer Pool::State::offer(WaitingTicket& waiting, Instant at, Verdicts& decided) {
  if (admission.in_flight() >= admission.limit()) sweep(true, at, decided);
  return admission.offer(waiting, at, decided);
}

void Pool::State::count_busy(int requests, Duration busy) {
  if (requests == 0) return;
  completed_in_mean += static_cast<std::uint64_t>(requests);
  const double weight = std::min(1.0, requests / static_cast<double>(std::min<std::uint64_t>(completed_in_mean, 256)));
  mean_busy_seconds += (decision::seconds(busy) / requests - mean_busy_seconds) * weight;
}

int Pool::State::in_flight() const {
  int in_flight = admission.in_flight();
  telemetry::read_together(shards.get(), [&](const Shard& shard) { in_flight -= shard.credit; });
  return in_flight;
}

int Pool::State::limit_in_force() const {
  decision::PoolPolicy ceiling = policy;
  ceiling.memory_bytes = static_cast<std::int64_t>(memory_share * static_cast<double>(policy.memory_bytes));
  if (!imposed) return decision::fallback_limit(ceiling, bytes_per_request);
  ceiling.fallback_limit.reset();
  return std::min(*imposed, decision::fallback_limit(ceiling, bytes_per_request));
}

void Pool::State::update_limit(Instant at, Verdicts& decided) {
  const int limit = shadow ? kUnbounded : limit_in_force();
  if (limit == admission.limit()) return;
  // What is free in a shard would be in use above a lower limit.
  if (limit < admission.limit()) sweep(true, at, decided);
  admission.set_limit(limit, at, decided);
}

Duration Pool::State::retry_after() const {
  const int limit = std::max(1, admission.limit());
  return decision::from_seconds(mean_busy_seconds * (admission.queue_length() + 1) / limit);
}

void Pool::State::refuse(RejectReason reason, Duration retry_after) const {
  throw Rejected(reason, retry_after, "pool " + name + ": " + std::string(decision::to_string(reason)));
}

}  // namespace penstock
