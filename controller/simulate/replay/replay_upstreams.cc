#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "controller/simulate/replay/replay.h"
#include "penstock/decision/circuit_breaker.h"
#include "penstock/decision/fleet_test.h"

namespace penstock::simulate {
namespace {

using decision::CallOutcome;
using decision::Duration;
using decision::Instant;

constexpr double kTick = 0.1;
// Made-up calls of one upstream on one node; beyond, every so many stand for one.
constexpr double kMostCalls = 400'000;

// A counter by time, and what it grew by up to each sample since the one before: a process that began anew counts from
// zero.
using Series = std::map<double, double>;

Series growth(const Series& counter) {
  Series grown;
  double before = 0;
  bool first = true;
  for (const auto& [time, value] : counter) {
    if (!first) grown[time] = value >= before ? value - before : value;
    before = value;
    first = false;
  }
  return grown;
}

struct UpstreamRecord {
  std::map<std::string, Series> outcomes;
  // By upper edge.
  std::map<double, Series> buckets;
  Series seconds;
  Series in_flight;
};
using UpstreamKey = std::pair<std::string, std::string>;  // upstream, node

Series to_series(const Recorded& recorded) { return {recorded.points.begin(), recorded.points.end()}; }

std::map<UpstreamKey, UpstreamRecord> read_upstreams(const Recording& recording) {
  std::map<UpstreamKey, UpstreamRecord> all;
  const auto each = [&](const char* name, auto store) {
    const auto found = recording.find(name);
    if (found == recording.end()) return;
    for (const Recorded& series : found->second) store(all[{series.label("upstream"), series.label("node")}], series);
  };
  each("upstream_calls", [](UpstreamRecord& of, const Recorded& series) {
    of.outcomes[series.label("outcome")] = growth(to_series(series));
  });
  each("upstream_bucket", [](UpstreamRecord& of, const Recorded& series) {
    const std::string le = series.label("le");
    of.buckets[le == "+Inf" ? std::numeric_limits<double>::infinity() : std::atof(le.c_str())] =
        growth(to_series(series));
  });
  each("upstream_seconds", [](UpstreamRecord& of, const Recorded& series) { of.seconds = growth(to_series(series)); });
  each("upstream_in_flight", [](UpstreamRecord& of, const Recorded& series) { of.in_flight = to_series(series); });
  return all;
}

double at(const Series& series, double time) {
  const auto found = series.find(time);
  return found == series.end() ? 0 : found->second;
}

double at(const std::map<std::string, Series>& outcomes, const std::string& outcome, double time) {
  const auto found = outcomes.find(outcome);
  return found == outcomes.end() ? 0 : at(found->second, time);
}

struct MadeUpCall {
  double starts;
  double ends;
  CallOutcome outcome;
};

// Latencies of the calls that ended up to this sample, ascending, so that so many of them fell in each bucket.
std::vector<double> latencies(const UpstreamRecord& record, double time, std::size_t count) {
  std::vector<double> all;
  double below = 0;
  double edge = 0;
  for (const auto& [upper, series] : record.buckets) {
    const double inside = std::max(0.0, at(series, time) - below);
    below += inside;
    const auto calls = static_cast<std::size_t>(std::llround(inside));
    const double width = std::isinf(upper) ? edge : upper - edge;
    for (std::size_t i = 0; i < calls && all.size() < 4 * count + 16; ++i)
      all.push_back(edge + width * (static_cast<double>(i) + 0.5) / static_cast<double>(calls));
    if (!std::isinf(upper)) edge = upper;
  }
  if (all.empty() && count > 0) {
    // No histogram: all alike.
    all.assign(count, at(record.seconds, time) / static_cast<double>(count));
  }
  // To as many as ended.
  std::vector<double> result;
  for (std::size_t i = 0; i < count; ++i) result.push_back(all[i * all.size() / count]);
  return result;
}

// xorshift64: the order of what ended between two samples is not recorded.
std::uint64_t shuffle_next(std::uint64_t& state) {
  state ^= state << 13;
  state ^= state >> 7;
  return state ^= state << 17;
}

std::vector<MadeUpCall> make_up(const UpstreamRecord& record, double thin) {
  std::vector<MadeUpCall> calls;
  std::set<double> times;
  for (const auto& [outcome, series] : record.outcomes)
    for (const auto& [time, value] : series) times.insert(time);
  std::uint64_t random = 0x9e3779b97f4a7c15;
  double before = times.empty() ? 0 : *times.begin() - 1;
  if (times.size() > 1) before = *times.begin() - (*std::next(times.begin()) - *times.begin());
  std::map<CallOutcome, double> carry;
  for (const double time : times) {
    std::vector<CallOutcome> outcomes;
    const auto add = [&](CallOutcome outcome, const char* name) {
      double& left = carry[outcome];
      left += at(record.outcomes, name, time) / thin;
      for (; left >= 1; left -= 1) outcomes.push_back(outcome);
    };
    add(CallOutcome::ok, "ok");
    add(CallOutcome::error, "error");
    const std::size_t quick = outcomes.size();
    for (std::size_t i = quick; i > 1; --i)
      std::swap(outcomes[i - 1], outcomes[static_cast<std::size_t>(shuffle_next(random) % i)]);
    add(CallOutcome::timeout, "timeout");
    // Those that ran out of time took longest.
    const std::vector<double> took = latencies(record, time, outcomes.size());
    std::vector<std::size_t> order(outcomes.size());
    for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
    for (std::size_t i = order.size(); i > 1; --i)
      std::swap(order[i - 1], order[static_cast<std::size_t>(shuffle_next(random) % i)]);
    for (std::size_t i = 0; i < order.size(); ++i) {
      const double ends = before + (time - before) * (static_cast<double>(i) + 0.5) / static_cast<double>(order.size());
      calls.push_back({ends - took[order[i]], ends, outcomes[order[i]]});
    }
    before = time;
  }
  return calls;
}

Instant instant(double time) {
  return Instant(std::chrono::duration_cast<Instant::duration>(decision::from_seconds(time)));
}

void replay_breaker(const decision::Policy& policy, const decision::UpstreamPolicy& upstream, const std::string& node,
                    const UpstreamRecord& record, double from, double to, Replayed& out) {
  double total = 0;
  for (const auto& [outcome, series] : record.outcomes)
    if (outcome != "rejected")
      for (const auto& [time, value] : series) total += value;
  const double thin = std::max(1.0, total / kMostCalls);
  if (thin > 1)
    out.unknown.push_back("upstream " + upstream.name + " on " + node + " had " +
                          std::to_string(static_cast<long long>(total)) + " calls: one stands for " +
                          std::to_string(static_cast<int>(std::ceil(thin))) + ", so minCalls is reached later");
  const std::vector<MadeUpCall> calls = make_up(record, thin);
  // Starts and ends in the order of time; of each call its start before its end.
  struct Event {
    double at;
    std::size_t call;
    bool ends;
  };
  std::vector<Event> events;
  events.reserve(2 * calls.size());
  for (std::size_t i = 0; i < calls.size(); ++i) {
    events.push_back({calls[i].starts, i, false});
    events.push_back({calls[i].ends, i, true});
  }
  std::ranges::stable_sort(events, {}, &Event::at);
  // Those in flight, in place.
  std::map<std::size_t, std::unique_ptr<decision::CircuitBreaker::Call>> in_flight;
  decision::CircuitBreaker breaker(upstream.breaker, upstream.timeout, 1);
  const auto tell = [&](double time) {
    while (const auto transition = breaker.take_transition()) {
      v1::Decision decision = made_at(time, policy, "upstream", upstream.name, node);
      decision.set_action(transition->to == decision::BreakerState::open        ? "trip"
                          : transition->to == decision::BreakerState::half_open ? "half_open"
                                                                                : "close");
      decision.set_reason(transition->reason);
      decision.set_message(transition->message);
      if (transition->to == decision::BreakerState::open && transition->reason == "usefulness")
        decision.set_verdict("unidentified");
      out.decisions.push_back(std::move(decision));
    }
  };
  // Calls that ended early in it began before.
  double next_tick = events.empty() ? from : std::min(from, events.front().at);
  const auto tick_until = [&](double time) {
    for (; next_tick <= time; next_tick += kTick) {
      breaker.tick(instant(next_tick), 0);
      tell(next_tick);
    }
  };
  for (const Event& event : events) {
    tick_until(event.at);
    if (!event.ends) {
      auto call = std::make_unique<decision::CircuitBreaker::Call>();
      if (breaker.begin(*call, upstream.timeout, instant(event.at))) in_flight[event.call] = std::move(call);
    } else if (const auto found = in_flight.find(event.call); found != in_flight.end()) {
      breaker.end(*found->second, calls[event.call].outcome, instant(event.at));
      in_flight.erase(found);
    }
    tell(event.at);
  }
  tick_until(to);
  // The breaker knows of no call when it goes.
  for (auto& [index, call] : in_flight) breaker.end(*call, CallOutcome::cancelled, instant(std::max(to, next_tick)));
}

const decision::UpstreamPolicy* find_upstream(const decision::Policy& policy, const std::string& name) {
  const auto found = std::ranges::find(policy.upstreams, name, &decision::UpstreamPolicy::name);
  return found == policy.upstreams.end() ? nullptr : &*found;
}

// What a sample a little later would have counted.
double counted(const Series& sums, double time) {
  const auto after = sums.lower_bound(time);
  if (after == sums.end()) return sums.empty() ? 0 : sums.rbegin()->second;
  if (after == sums.begin()) return after->second;
  const auto before = std::prev(after);
  const double share = (time - before->first) / (after->first - before->first);
  return before->second + share * (after->second - before->second);
}

}  // namespace

void replay_breakers(const decision::Policy& policy, const Recording& recording, double from, double to,
                     Replayed& out) {
  std::set<std::string> seen;
  for (const auto& [key, record] : read_upstreams(recording)) {
    const decision::UpstreamPolicy* upstream = find_upstream(policy, key.first);
    if (upstream == nullptr || record.outcomes.empty()) continue;
    seen.insert(key.first);
    replay_breaker(policy, *upstream, key.second, record, from, to, out);
  }
  out.upstreams = static_cast<int>(seen.size());
  for (const decision::UpstreamPolicy& upstream : policy.upstreams)
    if (!seen.contains(upstream.name)) out.unknown.push_back("no call to upstream " + upstream.name + " was recorded");
  if (seen.empty()) return;
  out.unknown.push_back("how long each call could wait is not recorded: the policy's timeout stands for it");
  out.unknown.push_back(
      "calls that were refused then have no outcome: where a breaker was open, the record shows its probes only; and "
      "where this policy would have opened one, the calls behind it happened all the same");
}

void replay_causes(const decision::Policy& policy, const Recording& recording, double from, double to, Replayed& out) {
  const auto records = read_upstreams(recording);
  bool tested = false;
  for (const decision::UpstreamPolicy& upstream : policy.upstreams) {
    if (upstream.limit.knee_test == decision::KneeTest::off) continue;
    // Sums over the whole time, by node.
    struct Sums {
      Series ok, failed, attempts, seconds;
      const UpstreamRecord* record;
    };
    std::map<std::string, Sums> nodes;
    for (const auto& [key, record] : records) {
      if (key.first != upstream.name || record.outcomes.empty()) continue;
      Sums& sums = nodes[key.second];
      sums.record = &record;
      std::set<double> times;
      for (const auto& [outcome, series] : record.outcomes)
        for (const auto& [time, value] : series) times.insert(time);
      double ok = 0, failed = 0, attempts = 0, seconds = 0;
      for (const double time : times) {
        const double answered = at(record.outcomes, "ok", time);
        const double lost = at(record.outcomes, "error", time) + at(record.outcomes, "timeout", time);
        ok += answered;
        failed += lost;
        attempts += answered + lost + at(record.outcomes, "rejected", time);
        seconds += answered + lost > 0 ? at(record.seconds, time) * answered / (answered + lost) : 0;
        sums.ok[time] = ok;
        sums.failed[time] = failed;
        sums.attempts[time] = attempts;
        sums.seconds[time] = seconds;
      }
    }
    if (nodes.empty()) continue;
    tested = true;
    decision::FleetTest test;
    decision::LimitPolicy limit = upstream.limit;
    limit.knee_test = decision::KneeTest::observe;
    for (double time = from; time <= to; time += kTick) {
      std::vector<decision::FleetTest::Node> streamed;
      std::uint64_t id = 0;
      for (const auto& [name, sums] : nodes) {
        decision::FleetTest::Node node{};
        node.id = ++id;
        node.life = 1;
        node.counts.attempts = static_cast<std::int64_t>(counted(sums.attempts, time));
        node.counts.ok = static_cast<std::int64_t>(counted(sums.ok, time));
        node.counts.failed = static_cast<std::int64_t>(counted(sums.failed, time));
        node.counts.latency = decision::from_seconds(counted(sums.seconds, time));
        node.counts.in_flight = static_cast<int>(counted(sums.record->in_flight, time));
        node.patience = upstream.timeout;
        streamed.push_back(node);
      }
      test.tick({.now = instant(time), .wall = decision::from_seconds(time), .may_test = true, .limit = limit},
                streamed);
      while (const auto taken = test.take_decision()) {
        v1::Decision decision = made_at(time, policy, "upstream", upstream.name, "");
        decision.set_action("test");
        decision.set_reason(std::string(to_string(taken->to)));
        decision.set_verdict(std::string(to_string(taken->verdict)));
        decision.set_message(taken->sentence);
        decision.set_formula(taken->formula);
        decision.set_would_change(taken->would_change);
        out.decisions.push_back(std::move(decision));
      }
    }
  }
  if (tested)
    out.unknown.push_back(
        "whose fault slowness was shows only when calls are held back on purpose: of the test for it, the replay tells "
        "when it would have begun, not what it would have found");
}

}  // namespace penstock::simulate
