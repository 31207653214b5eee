#include "controller/simulate/replay/replay.h"

#include <google/protobuf/util/time_util.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <optional>
#include <set>

#include "penstock/decision/pool_sizing.h"

namespace penstock::simulate {
namespace {

using Key = std::pair<std::string, std::string>;  // node, pool

const std::vector<Recorded>& signal(const Recording& recording, const std::string& name) {
  static const std::vector<Recorded> kNone;
  const auto found = recording.find(name);
  return found == recording.end() ? kNone : found->second;
}

// Of each node's pool by time.
std::map<Key, std::map<double, double>> by_pool(const Recording& recording, const std::string& name) {
  std::map<Key, std::map<double, double>> all;
  for (const Recorded& series : signal(recording, name))
    for (const auto& [time, value] : series.points) all[{series.label("node"), series.label("pool")}][time] = value;
  return all;
}

}  // namespace

v1::Decision made_at(double time, const decision::Policy& policy, std::string kind, std::string name,
                     std::string node) {
  v1::Decision decision;
  *decision.mutable_time() =
      google::protobuf::util::TimeUtil::MillisecondsToTimestamp(static_cast<std::int64_t>(time * 1000));
  decision.set_kind(std::move(kind));
  decision.set_name(std::move(name));
  decision.set_service(policy.service);
  decision.set_node(std::move(node));
  decision.set_policy(policy.name);
  decision.set_shadow(true);
  return decision;
}

void replay_pools(const decision::Policy& policy, const Recording& recording, double step, Replayed& out) {
  const auto rates = by_pool(recording, "pool_rate");
  const auto latencies = by_pool(recording, "pool_latency");
  const auto in_flights = by_pool(recording, "pool_in_flight");
  const auto limits = by_pool(recording, "pool_limit");
  std::set<std::string> nodes;
  for (const decision::PoolPolicy& pool : policy.pools) {
    for (const auto& [key, series] : rates) {
      if (key.second != pool.name) continue;
      nodes.insert(key.first);
      ++out.pools;
      std::optional<int> limit;
      double last_shrink = -1e18;
      for (const auto& [time, rate] : series) {
        const auto at = [&key = key,
                         &time = time](const std::map<Key, std::map<double, double>>& of) -> std::optional<double> {
          const auto found = of.find(key);
          if (found == of.end()) return std::nullopt;
          const auto sample = found->second.find(time);
          if (sample == found->second.end()) return std::nullopt;
          return sample->second;
        };
        const auto latency = at(latencies);
        if (!latency) continue;
        if (!limit) limit = static_cast<int>(at(limits).value_or(pool.max));
        decision::PoolObservation observed;
        observed.rate = rate;
        observed.latency = decision::from_seconds(*latency);
        observed.in_flight = at(in_flights).value_or(0);
        const decision::PoolSize size = decision::size_pool(pool, observed, *limit);
        const int next = decision::next_limit(*limit, size, time - last_shrink >= step);
        if (next == *limit) continue;
        if (next < *limit) last_shrink = time;
        v1::Decision decision = made_at(time, policy, "pool", pool.name, key.first);
        decision.set_action("resize");
        decision.set_reason(size.bound);
        std::string formula;
        for (const std::string& line : size.steps) formula += (formula.empty() ? "" : "; ") + line;
        decision.set_formula(formula);
        decision.set_message("limit " + std::to_string(*limit) + " -> " + std::to_string(next) + ": " + formula);
        auto& evidence = *decision.mutable_evidence()->mutable_fields();
        evidence["rate"].set_number_value(rate);
        evidence["latency_seconds"].set_number_value(*latency);
        evidence["in_flight"].set_number_value(observed.in_flight);
        evidence["previous"].set_number_value(*limit);
        evidence["target"].set_number_value(size.limit);
        evidence["result"].set_number_value(next);
        out.decisions.push_back(std::move(decision));
        limit = next;
      }
    }
  }
  out.nodes = static_cast<int>(nodes.size());
  if (out.pools == 0) out.unknown.push_back("no rate of any pool of this policy was recorded: pools are not replayed");
  out.unknown.push_back(
      "memory per request is not recorded: 32 KiB are assumed, so a pool bound by memory may have been sized "
      "otherwise");
}

Replayed replay(const decision::Policy& policy, const Recording& recording, double from, double to, double step) {
  Replayed out;
  replay_pools(policy, recording, step, out);
  replay_breakers(policy, recording, from, to, out);
  replay_causes(policy, recording, from, to, out);
  std::ranges::stable_sort(out.decisions, [](const v1::Decision& a, const v1::Decision& b) {
    return a.time().seconds() != b.time().seconds() ? a.time().seconds() < b.time().seconds()
                                                    : a.time().nanos() < b.time().nanos();
  });
  char text[200];
  std::snprintf(
      text, sizeof text,
      "samples are %.3g s apart: what rose and fell between two of them is not seen, and a node reacts within "
      "100 ms",
      step);
  out.unknown.push_back(text);
  out.unknown.push_back(
      "what was usual at that hour by the weeks before is not asked for: a pool may have been sized ahead of a rush, "
      "and "
      "a node that had just begun known better what is slow");
  return out;
}

}  // namespace penstock::simulate
