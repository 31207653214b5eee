#include "runtime/upstream/upstream_state.h"

#include <algorithm>
#include <chrono>
#include <functional>
#include <new>
#include <utility>

#include "penstock/decision/prefetch.h"
#include "runtime/admission/waiting.h"
#include "runtime/upstream/upstream_call.h"
#include "runtime/upstream/upstream_decisions.h"

namespace penstock {

namespace {

// Places that a shard is given at a time.
constexpr int kBatch = 32;
// A shard has its ticker tell the guard of its calls; should none come, its next call does.
constexpr auto kLongestUntold = std::chrono::milliseconds(200);
constexpr auto kTellBulkheadEvery = std::chrono::seconds(5);

}  // namespace

Upstream::State::State(const decision::UpstreamPolicy& given, bool guarded, MetricsRegistry& metrics,
                       UpstreamAccess::Listener told)
    : guarded(guarded),
      shard_count(telemetry::shard_count()),
      shards(new Shard[shard_count]),
      duration(metrics.histogram("penstock_upstream_request_duration_seconds",
                                 "Time of calls that were let through, however they ended.",
                                 {{"upstream", given.name}})),
      refusals(metrics.counter("penstock_upstream_refused_total",
                               "Calls that the upstream refused for being too many; they count as errors as well.",
                               {{"upstream", given.name}})),
      name(given.name),
      listener(std::move(told)),
      guard(given, guarded, false, std::hash<std::string>()(given.name)) {
  places_ = guard.places();
  for (std::size_t i = 0; i < outcomes.size(); ++i) {
    outcomes[i] = &metrics.counter("penstock_upstream_requests_total", "Calls to third parties by how they ended.",
                                   {{"upstream", name}, {"outcome", kUpstreamOutcomes[i]}});
  }
}

Upstream::State::Effects::~Effects() {
  while (!decided.empty()) {
    const decision::Verdict verdict = decided.pop_front();
    static_cast<Call::State*>(verdict.ticket)->fiber->deliver(verdict.rejected);
  }
}

bool Upstream::State::begin_here(Call::State& call, Instant arrived, Instant request_deadline) {
  Shard& shard = mine();
  std::lock_guard guard(shard.lock);
  if (shard.credit == 0 || request_deadline <= arrived || shard.lane.untold_for(arrived) > kLongestUntold) return false;
  --shard.credit;
  call.shard = &shard;
  call.tenant = decision::kUncounted;
  call.tracked = call.placed = true;
  call.started = arrived;
  call.deadline = std::min(request_deadline, arrived + shard.timeout);
  shard.lane.begin(call.call, std::min(call.deadline - arrived, shard.longest_patience), arrived);
  return true;
}

bool Upstream::State::end_here(Call::State& call, Instant at) {
  Shard& shard = *call.shard;
  std::lock_guard guard(shard.lock);
  if (!shard.open || !shard.lane.end(call.call, at)) return false;
  ++shard.credit;
  shard.ended.add(at - call.started);
  return true;
}

void Upstream::State::watch(Call::State& call, Instant request_deadline) noexcept {
  try {
    auto by = watching();
    if (!by) return;
    auto told = std::make_unique<Call::State::Watched>();
    told->by = std::move(by);
    if (told->by->begin(told->call, request_deadline, call.started)) call.watched = std::move(told);
  } catch (const std::bad_alloc&) {
  }
}

std::shared_ptr<WatchingGuard> Upstream::State::watching() const {
  if (!watched.load(std::memory_order_relaxed)) return nullptr;
  std::lock_guard guard(watching_lock_);
  return watching_;
}

void Upstream::State::set_watching(std::shared_ptr<WatchingGuard> guard) {
  watched.store(guard != nullptr, std::memory_order_relaxed);
  std::lock_guard of_watching(watching_lock_);
  watching_.swap(guard);
}

void Upstream::State::end_slowly(Call::State& call, decision::GuardedOutcome outcome,
                                 std::optional<Duration> retry_after, Instant at) {
  locked(*call.upstream, at, [&](Effects& effects) {
    ++slow_paths;
    // The guard judges by what came before.
    sweep(false, at, effects.decided);
    if (outcome != decision::GuardedOutcome::ok) {
      ++counts[static_cast<std::size_t>(to_call_outcome(outcome))];
      failed_latency += at - call.started;
    }
    std::unique_lock<SpinLock> of_lane;
    if (call.shard != nullptr) of_lane = std::unique_lock(call.shard->lock);
    guard.end(call, outcome, retry_after, at, effects.decided);
  });
}

void Upstream::State::sweep(bool close, Instant at, decision::Verdicts& decided) {
  if (open_shards == 0) return;
  int places = 0;
  for_each_used([&](Shard& shard) {
    if (!shard.open) return;
    std::lock_guard of_shard(shard.lock);
    places += collect(shard, close ? 0 : 2 * kBatch, at);
    shard.open = !close;
  });
  if (close) open_shards = 0;
  if (places != 0) guard.give_back_places(places, at, decided);
}

int Upstream::State::collect(Shard& shard, int kept, Instant at) {
  guard.collect(shard.lane, std::exchange(shard.ended, {}), at);
  const int places = std::max(0, shard.credit - kept);
  shard.credit -= places;
  return places;
}

void Upstream::State::sweep_and_age(Instant at, decision::Verdicts& decided) {
  int places = 0;
  for_each_used([&](Shard& shard) {
    std::lock_guard of_shard(shard.lock);
    if (shard.open) places += collect(shard, 2 * kBatch, at);
    guard.age(shard.lane, at);
  });
  aged_ = at;
  // For the second half of the tick, and whether the next one has to look further ahead.
  ages_ = guard.prefetch_aged(at);
  if (places != 0) guard.give_back_places(places, at, decided);
}

bool Upstream::State::open_shard(Instant at) {
  if (!guard.steady(at)) return false;
  const int places = std::min(kBatch, guard.free_places() / static_cast<int>(2 * shard_count));
  if (places <= 0) return false;
  Shard& shard = mine();
  std::lock_guard of_shard(shard.lock);
  shard.credit += guard.reserve(places);
  if (shard.open) return true;
  shard.open = true;
  const auto number = static_cast<std::size_t>(&shard - shards.get());
  used_[number / kWord].fetch_or(std::uint64_t{1} << number % kWord, std::memory_order_relaxed);
  ++open_shards;
  shard.timeout = guard.timeout_in_force();
  shard.longest_patience = guard.policy().timeout;
  guard.entrust(shard.lane);
  return true;
}

void Upstream::State::prefetch() const {
  __builtin_prefetch(this);
  decision::prefetch(&lock, &guard);
  guard.prefetch();
}

void Upstream::State::prefetch_parts(Instant at) const {
  // Whoever wakes it makes the ticks that it missed.
  const std::unique_lock held(lock, std::try_to_lock);
  if (!held) return;
  guard.prefetch_parts();
  bool used = false;
  for_each_used([&](const Shard& shard) {
    decision::prefetch(&shard, &shard + 1);
    used = true;
  });
  if (used) guard.prefetch_told(at);
}

void Upstream::State::prefetch_aged(Instant at) const {
  if (!ages_) return;
  const std::unique_lock guarded(lock, std::try_to_lock);
  if (!guarded) return;
  guard.prefetch_aged(at);
  for_each_used([&](const Shard& shard) {
    const std::unique_lock of_shard(shard.lock, std::try_to_lock);
    if (of_shard) guard.prefetch_aged(shard.lane, at);
  });
}

void Upstream::State::tick(const decision::UpstreamGuard::Tick& tick, Effects& effects) {
  if (aged_ != tick.now) sweep_and_age(tick.now, effects.decided);
  guard.tick(tick, effects.decided);
}

void Upstream::State::enlist(const NodeTicks& ticks, std::atomic<bool>& awake, Effects& effects) {
  if (ticks_ != nullptr) catch_up(effects);
  made_ = ticks.latest();
  ticks_ = &ticks;
  awake_ = &awake;
  wake();
}

void Upstream::State::wake() {
  asleep_ = false;
  awake_->store(true, std::memory_order_relaxed);
}

void Upstream::State::catch_up(Effects& effects) {
  ticks_->for_each_after(made_, [&](const NodeTick& missed) {
    guard.tick(own(missed), effects.decided);
    settle(effects, missed.tick.now);
  });
}

int Upstream::State::collect_awake(const Upstream& upstream, std::uint64_t before, Instant now) {
  {
    Effects effects;
    std::lock_guard held(lock);
    if (asleep_) return 0;
    if (!behind(before)) {
      sweep_and_age(now, effects.decided);
      return calls();
    }
  }
  // Woken in the very moment when its ticker thought that it slept.
  int after = 0;
  locked(upstream, now, [&](Effects& effects) {
    catch_up(effects);
    sweep_and_age(now, effects.decided);
    after = calls();
  });
  return after;
}

void Upstream::State::tick(const NodeTick& tick, std::uint64_t number, bool may_test, Effects& effects) {
  // Somebody woke it after this tick had been added.
  if (!behind(number)) return;
  made_ = number;
  decision::UpstreamGuard::Tick given = own(tick);
  given.may_test = may_test;
  this->tick(given, effects);
  const std::int64_t attempts = guard.signals().now().attempts;
  if (std::exchange(attempts_, attempts) != attempts || !guard.idle(given.now)) return;
  // What comes from now on has to wake it.
  sweep(true, given.now, effects.decided);
  if (!idle(given.now)) return;
  asleep_ = true;
  awake_->store(false, std::memory_order_relaxed);
}

Runtime::UpstreamStats Upstream::State::stats(Instant at) const {
  const auto count = [&](CallOutcome outcome) { return counts[static_cast<std::size_t>(outcome)]; };
  const decision::UpstreamCounts counted = guard.counts(at);
  const decision::CauseTest::Hold& hold = guard.cause_test().holds();
  Runtime::UpstreamStats stats{
      .name = name,
      .limit = guard.limit(),
      .in_flight = counted.in_flight,
      .waiting = counted.waiting,
      .attempts = static_cast<std::uint64_t>(counted.attempts),
      .ok = static_cast<std::uint64_t>(counted.ok),
      .errors = count(CallOutcome::error),
      .timeouts = count(CallOutcome::timeout),
      .cancelled = count(CallOutcome::cancelled),
      .rejected = counts[kRejectedOutcome],
      .latency = counted.latency + failed_latency,
      .oldest = guard.breaker().oldest(at),
      .breaker = guard.breaker().state(),
      .usefulness = guard.breaker().usefulness(),
      .refused = static_cast<std::uint64_t>(counted.refused),
      .ok_latency = counted.latency,
      .mean_age = counted.mean_age,
      .patience = guard.breaker().patience(),
      .in_trouble = in_trouble(),
      .usual_latency = guard.signals().usual_latency(),
      .current_latency = guard.signals().latency(),
      .expected_latency = guard.signals().expected_latency(),
      .rate = guard.bucket().rate(),
      .cause_state = hold.state,
      .cause = hold.verdict,
      .bound_by = guard.bound_by(),
      .fleet_leads = guard.fleet_leads(),
      .only_watched = only_watched,
  };
  telemetry::read_together(shards.get(),
                           [&](const Shard& shard) { stats.oldest = std::max(stats.oldest, shard.lane.oldest(at)); });
  return stats;
}

void Upstream::State::settle(Effects& effects, Instant at) noexcept {
  // What is free in a shard would be in use above a lower limit.
  if (!guard.steady(at) || guard.places() < std::exchange(places_, guard.places())) sweep(true, at, effects.decided);
  try {
    note(effects, at);
  } catch (const std::bad_alloc&) {
  }
}

void Upstream::State::note(Effects& effects, Instant at) {
  while (auto transition = guard.take_transition()) effects.transitions.push_back(std::move(*transition));
  while (auto decision = guard.take_decision()) {
    const decision::LimitPolicy& limit = guard.policy().limit;
    const bool acts = limit.knee_test == decision::KneeTest::act && limit.mode == decision::LimitMode::adaptive;
    effects.decisions.push_back(cause_decision(name, *decision, !acts || guard.shadow()));
  }
  if (!guarded) return;
  if (guard.bucket().active() != obeys_rate_) {
    obeys_rate_ = !obeys_rate_;
    effects.decisions.push_back(rate_decision(name, guard.bucket(), at, guard.shadow()));
  }
  if (const bool squeezed = guard.bound_by() == "bulkhead";
      squeezed != squeezed_ && at - squeeze_told_ >= kTellBulkheadEvery) {
    squeezed_ = squeezed;
    squeeze_told_ = at;
    effects.decisions.push_back(bulkhead_decision(name, squeezed, guard.limit(), guard.shadow()));
  }
}

void Upstream::State::tell(const Upstream& upstream, const Effects& effects) const noexcept {
  try {
    if (listener.transition) {
      for (const auto& transition : effects.transitions) listener.transition(upstream, transition);
    }
    if (listener.decision) {
      for (const NodeDecision& decision : effects.decisions) listener.decision(upstream, decision);
    }
  } catch (const std::bad_alloc&) {
  }
}

}  // namespace penstock
