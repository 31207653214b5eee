#include "controller/loop/recollection.h"

#include <cmath>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "controller/loop/evidence.h"

namespace penstock::controller {

namespace {

using decision::Baseline;
using decision::Duration;
using std::chrono::system_clock;

// How far ahead pools are sized.
constexpr std::chrono::hours kAhead{1};

BaselineView view_of(const Baseline& baseline, Duration wall) {
  BaselineView view;
  view.expected = baseline.expected(wall);
  view.hours = baseline.hours();
  view.since = system_clock::time_point(std::chrono::duration_cast<system_clock::duration>(baseline.since()));
  return view;
}

// Crossings up to this ratio; those that are told of stay until it is as before.
int crossings(double ratio, double threshold, int told) {
  if (ratio < Recollection::kAsBefore) return 0;
  int reached = 0;
  for (double next = threshold; ratio >= next; next *= Recollection::kFurther) ++reached;
  return std::max(reached, told);
}

v1::Decision decision_of(const std::pair<std::string, std::string>& key, const BaselineView& view, bool slower,
                         const Baseline::Drift& drift, double threshold) {
  v1::Decision decision;
  decision.set_kind("upstream");
  decision.set_service(key.first);
  decision.set_name(key.second);
  decision.set_action("drift");
  decision.set_reason(slower ? "slower" : "usual");
  const bool weeks = drift.over > Duration::zero();
  const std::string than = weeks ? absl::StrCat("what it was ", span_text(drift.over), " before")
                                 : std::string("what is expected at this time of the week");
  decision.set_message(absl::StrFormat("%s: %s latency is %.2f x %s", slower ? "it has become slower" : "as before",
                                       weeks ? "over the last day" : "over the last three hours", drift.ratio, than));
  decision.set_formula(absl::StrFormat("median over %d hours of latency / %s = %.2f %s %.2f", drift.pairs,
                                       weeks ? "that of the same hours then" : "that expected", drift.ratio,
                                       slower ? ">=" : "<", slower ? threshold : Recollection::kAsBefore));
  decision.set_would_change(slower ? absl::StrFormat("a ratio below %.2f, or above %.2f", Recollection::kAsBefore,
                                                     threshold * Recollection::kFurther)
                                   : absl::StrFormat("a ratio of %.2f", threshold));
  set_number(decision, "ratio", drift.ratio);
  set_number(decision, "hours_compared", drift.pairs);
  set_number(decision, "hours_before", static_cast<double>(drift.over / std::chrono::hours(1)));
  set_number(decision, "hours_known", view.hours);
  if (view.expected) set_number(decision, "expected_latency", view.expected->value);
  return decision;
}

}  // namespace

void Recollection::record(const History& history) {
  for (const auto& [key, hours] : history.upstreams) {
    if (full() && !upstreams_.contains(key)) continue;
    Upstream& upstream = upstreams_[key];
    for (const UpstreamHour& hour : hours) {
      upstream.latency.record(hour.began.time_since_epoch(), hour.latency);
      upstream.rate.record(hour.began.time_since_epoch(), hour.rate);
    }
  }
  for (const auto& [key, hours] : history.pools) {
    if (full() && !pools_.contains(key)) continue;
    for (const PoolHour& hour : hours) pools_[key].record(hour.began.time_since_epoch(), hour.rate);
  }
}

Recollection::Turn Recollection::turn(system_clock::time_point wall, bool complete) {
  const Duration now = wall.time_since_epoch();
  // What was not heard of for four weeks is gone.
  const auto gone = [&](const Baseline& baseline) {
    return baseline.until() + Baseline::kWeeks * Baseline::kWeek * baseline.hour() < now;
  };
  std::erase_if(upstreams_, [&](const auto& entry) { return gone(entry.second.latency); });
  std::erase_if(pools_, [&](const auto& entry) { return gone(entry.second); });

  Turn turn;
  turn.baselines.complete = complete;
  for (auto& [key, upstream] : upstreams_) {
    BaselineView& view = turn.baselines.upstreams[key] = view_of(upstream.latency, now);
    if (const auto rate = upstream.rate.expected(now)) view.rate = rate->value;
    view.drift = upstream.latency.drift();
    view.departure = upstream.latency.departure();
    if (!complete) continue;
    const auto tell = [&](const std::optional<Baseline::Drift>& drift, double threshold, int& told) {
      if (!drift) return;
      const int reached = crossings(drift->ratio, threshold, told);
      if (reached == told) return;
      const double crossed = threshold * std::pow(kFurther, std::max(reached, 1) - 1);
      turn.decisions.push_back(decision_of(key, view, reached > told, *drift, crossed));
      told = reached;
    };
    tell(view.drift, kDrift, upstream.told.drift);
    tell(view.departure, kDeparture, upstream.told.departure);
  }
  for (const auto& [key, pool] : pools_) {
    BaselineView& view = turn.baselines.pools[key] = view_of(pool, now);
    view.rate = pool.highest(now, now + kAhead).value_or(0);
  }
  return turn;
}

}  // namespace penstock::controller
