#include <algorithm>
#include <cmath>
#include <cstdio>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "controller/loop/decide.h"
#include "controller/loop/evidence.h"
#include "penstock/decision/pool_sizing.h"

namespace penstock::controller {

namespace {

using decision::Instant;

// Below this, what a node uses beside requests drowns what requests use.
constexpr double kMeasurableInFlight = 200;
constexpr double kLeastBytesPerRequest = 16.0 * 1024;
constexpr double kMostBytesPerRequest = 16.0 * 1024 * 1024;

// One pool of one node in one turn.
struct Subject {
  const NodeState& node;
  const decision::Policy& policy;
  const decision::PoolPolicy& pool;
  const v1::PoolCounters* counters;
  PoolKey key;
};

// What the sizes of one service's pool rest on, over its nodes.
struct Totals {
  double rate = 0;
  double busy = 0;
  bool seen = false;
  std::string reason;
};

const v1::PoolCounters* find_counters(const NodeState& node, const std::string& pool, Instant now) {
  if (node.latest.counters == nullptr || now - node.latest.at > kCountersFresh) return nullptr;
  for (const auto& counters : node.latest.counters->pools()) {
    if (counters.pool() == pool) return &counters;
  }
  return nullptr;
}

// What a node's pool will get within the hour, if it keeps its share of the service's requests; unset: not known.
using ServiceRates = std::map<std::pair<std::string, std::string>, double>;
std::optional<double> expect_rate(const Subject& subject, double rate, const ServiceRates& rates,
                                  const std::shared_ptr<const Baselines>& baselines) {
  if (baselines == nullptr) return std::nullopt;
  const std::pair name(subject.node.id.service, subject.pool.name);
  const auto view = baselines->pools.find(name);
  const auto all = rates.find(name);
  if (view == baselines->pools.end() || !view->second.expected || all == rates.end() || all->second <= 0)
    return std::nullopt;
  return view->second.rate * rate / all->second;
}

// Why there is nothing to decide on: a word and a sentence. Empty word: there is.
std::pair<std::string, std::string> find_gap(const Subject& subject, const Signals& signals) {
  for (const char* name : {"pool_rate", "pool_latency", "node_age"}) {
    const Reading& reading = signals.reading(name);
    if (reading.state == SignalState::error) {
      return {"prometheus_" + reading.reason, absl::StrCat(name, ": ", reading.message)};
    }
  }
  const auto node = signals.nodes.find(subject.node.id);
  if (node == signals.nodes.end() || !node->second.age) return {"no_signal", "Prometheus has no sample of this node"};
  const double window = std::chrono::duration<double>(signals.window).count();
  if (*node->second.age > window) {
    return {"stale", absl::StrCat("the newest sample is ", format_number(*node->second.age), " s old, more than ",
                                  format_number(window), " s")};
  }
  const auto pool = signals.pools.find(subject.key);
  if (pool == signals.pools.end() || !pool->second.rate) return {"no_rate", "no rate within the window"};
  if (!pool->second.latency) return {"no_latency", "no request was completed within the window"};
  return {};
}

std::int64_t measure_bytes(const NodeState& node, const Signals& signals, Instant now, LoopState& state) {
  LoopState::NodeMemory& memory = state.nodes[node.id];
  const auto signal = signals.nodes.find(node.id);
  if (signal != signals.nodes.end() && signal->second.resident_bytes && node.latest.counters != nullptr &&
      now - node.latest.at <= kCountersFresh) {
    const double resident = *signal->second.resident_bytes;
    double in_flight = 0;
    for (const auto& pool : node.latest.counters->pools()) in_flight += pool.in_flight();
    if (memory.resident_floor == 0 || resident < memory.resident_floor) memory.resident_floor = resident;
    // Only near the highest concurrency seen: memory is not given back at once when requests end.
    memory.peak_in_flight = std::max(memory.peak_in_flight, in_flight);
    if (in_flight >= kMeasurableInFlight && in_flight >= 0.9 * memory.peak_in_flight) {
      memory.bytes_per_request =
          std::clamp((resident - memory.resident_floor) / in_flight, kLeastBytesPerRequest, kMostBytesPerRequest);
    }
  }
  if (!memory.bytes_per_request) return decision::PoolObservation{}.bytes_per_request;
  return static_cast<std::int64_t>(*memory.bytes_per_request);
}

std::optional<double> measure_cpu(const NodeState& node, const Signals& signals) {
  const auto signal = signals.nodes.find(node.id);
  if (signal == signals.nodes.end() || !signal->second.cpu || node.latest.counters == nullptr) return std::nullopt;
  const unsigned threads = node.latest.counters->scheduler_threads();
  if (threads == 0) return std::nullopt;
  return std::min(1.0, *signal->second.cpu / threads);
}

v1::Decision make_decision(const Subject& subject, const char* action, std::string reason, std::string message) {
  v1::Decision decision;
  decision.set_kind("pool");
  decision.set_name(subject.pool.name);
  decision.set_service(subject.node.id.service);
  decision.set_node(subject.node.id.node);
  decision.set_action(action);
  decision.set_reason(std::move(reason));
  decision.set_message(std::move(message));
  decision.set_shadow(subject.policy.shadow);
  decision.set_policy(subject.policy.name);
  return decision;
}

std::string would_change(const std::string& bound, const decision::PoolPolicy& pool) {
  if (bound == "min") return absl::StrCat("a demand above min ", pool.min, ", or another min");
  if (bound == "max") return absl::StrCat("a demand below max ", pool.max, ", or another max");
  if (bound == "memory") return "more memory for the pool, or requests that use less of it";
  if (bound == "cpu") return "CPU time that is left";
  return absl::StrCat("a demand (rate, latency or calls in flight) that moves by more than ",
                      static_cast<int>(decision::kBand * 100), " %");
}

// The limit to have after this turn; unset: none is known.
std::optional<int> size_one(const Subject& subject, const Signals& signals, Instant now, LoopState& state, Plan& plan,
                            Totals& totals, std::optional<double> expected_rate) {
  LoopState::PoolMemory& memory = state.pools[subject.key];
  const bool directed = subject.node.desired.pools.contains(subject.pool.name);
  if (!directed && !subject.policy.shadow) memory.limit.reset();
  std::optional<int> current = memory.limit;
  if (!current && subject.counters != nullptr && subject.counters->limit() > 0) current = subject.counters->limit();
  if (!current) return std::nullopt;

  auto [gap, explanation] = find_gap(subject, signals);
  if (!gap.empty()) {
    if (memory.held != gap) {
      const std::string message = absl::StrCat("limit ", *current, " stays: ", explanation);
      v1::Decision decision = make_decision(subject, "hold", gap, message);
      set_number(decision, "result", *current);
      decision.set_would_change("a fresh rate and latency of this pool from Prometheus");
      plan.decisions.push_back(std::move(decision));
      memory.held = gap;
      memory.reason = message;
    }
    totals.reason = memory.reason;
    // A limit that the loop did not set is left alone.
    return memory.limit;
  }

  const PoolSignal& signal = signals.pools.at(subject.key);
  decision::PoolObservation observed;
  observed.rate = *signal.rate;
  observed.latency = decision::from_seconds(*signal.latency);
  observed.expected_rate = expected_rate;
  observed.in_flight = subject.counters != nullptr ? subject.counters->in_flight() : signal.in_flight.value_or(0);
  observed.bytes_per_request = measure_bytes(subject.node, signals, now, state);
  observed.cpu = measure_cpu(subject.node, signals);
  const decision::PoolSize size = decision::size_pool(subject.pool, observed, *current);
  const bool may_shrink = now - memory.last_shrink >= signals.window / 4;
  const int limit = decision::next_limit(*current, size, may_shrink);
  if (limit < *current) memory.last_shrink = now;

  totals.rate += observed.rate;
  totals.busy += observed.rate * *signal.latency;
  totals.seen = true;
  const bool resumed = !memory.held.empty();
  memory.held.clear();
  if (limit != *current || resumed || memory.reason.empty()) {
    std::string steps = absl::StrJoin(size.steps, "; ");
    const bool moved = limit != *current;
    memory.reason = moved ? absl::StrCat("limit ", *current, " -> ", limit, ": ", steps)
                          : absl::StrCat("limit ", limit, " stays: ", steps);
    v1::Decision decision =
        make_decision(subject, moved ? "resize" : "hold", moved ? size.bound : "steady", memory.reason);
    decision.set_formula(steps);
    decision.set_would_change(would_change(size.bound, subject.pool));
    set_number(decision, "rate", observed.rate);
    if (observed.expected_rate) set_number(decision, "expected_rate", *observed.expected_rate);
    set_number(decision, "latency_seconds", *signal.latency);
    set_number(decision, "in_flight", observed.in_flight);
    set_number(decision, "headroom", subject.pool.sizing.headroom);
    set_number(decision, "reaction_seconds", decision::seconds(subject.pool.sizing.reaction));
    set_number(decision, "bytes_per_request", static_cast<double>(observed.bytes_per_request));
    if (observed.cpu) set_number(decision, "cpu", *observed.cpu);
    set_number(decision, "signal_age_seconds", *signals.nodes.at(subject.node.id).age);
    set_number(decision, "window_seconds", std::chrono::duration<double>(signals.window).count());
    set_number(decision, "previous", *current);
    set_number(decision, "target", size.limit);
    set_number(decision, "result", limit);
    set_text(decision, "bound", size.bound);
    set_list(decision, "steps", size.steps);
    plan.decisions.push_back(std::move(decision));
  }
  totals.reason = memory.reason;
  memory.limit = limit;
  return limit;
}

bool acts(const NodeState& node, Instant now) {
  return node.policy != nullptr && (node.connected || node.lease_until > now);
}

}  // namespace

void size_pools(const FleetSnapshot& fleet, const Signals& signals, Instant now, LoopState& state, Plan& plan) {
  std::map<std::pair<std::string, std::string>, Totals> totals;
  std::set<PoolKey> alive;
  ServiceRates rates;
  for (const auto& [key, signal] : signals.pools) rates[{key.id.service, key.pool}] += signal.rate.value_or(0);
  for (const NodeState& node : fleet.nodes) {
    if (!acts(node, now)) continue;
    const decision::Policy* policy = find_policy(*node.policy, state);
    if (policy == nullptr) continue;
    for (const decision::PoolPolicy& pool : policy->pools) {
      const Subject subject{node, *policy, pool, find_counters(node, pool.name, now), {node.id, pool.name}};
      alive.insert(subject.key);
      const auto signal = signals.pools.find(subject.key);
      const double rate = signal == signals.pools.end() ? 0 : signal->second.rate.value_or(0);
      const auto limit = size_one(subject, signals, now, state, plan, totals[{node.id.service, pool.name}],
                                  expect_rate(subject, rate, rates, fleet.baselines));
      if (!limit || policy->shadow) continue;
      v1::PoolDirective directive;
      directive.set_pool(pool.name);
      directive.set_limit(*limit);
      directive.set_reason(state.pools[subject.key].reason);
      plan.desired[node.id].pools[pool.name] = std::move(directive);
    }
  }
  for (const auto& [key, total] : totals) {
    PoolObserved observed;
    if (total.seen) {
      observed.rate = total.rate;
      if (total.rate > 0) observed.latency = decision::from_seconds(total.busy / total.rate);
    }
    observed.reason = total.reason;
    plan.observed[key] = std::move(observed);
  }
  std::erase_if(state.pools, [&](const auto& entry) { return !alive.contains(entry.first); });
  std::erase_if(state.nodes, [&](const auto& entry) { return !plan.desired.contains(entry.first); });
}

}  // namespace penstock::controller
