#include "controller/simulate/strategies/penstock_history.h"

#include <algorithm>
#include <cmath>

#include "controller/simulate/events.h"

namespace penstock::simulate {

namespace {

using decision::Baseline;

double mean(const UpstreamModel& model) {
  return decision::seconds(model.latency) * std::exp(model.spread * model.spread / 2);
}

const std::string& pool_of(const PageModel& page, const decision::Policy& policy) {
  static const std::string kDefault = "default";
  for (const decision::RoutePolicy& route : policy.routes)
    if (decision::route_matches(route.match, page.path)) return route.pool;
  return kDefault;
}

}  // namespace

// The run begins with a day, a Monday, after the weeks before.
Duration PenstockHistory::wall(Instant now) const {
  return model_.day * 7 * Baseline::kWeeks + model_.day * 4 + since_start(now);
}

PenstockHistory::PenstockHistory(const Scenario& scenario) : model_(scenario.history) {
  const Duration hour = model_.day / Baseline::kDay;
  double shares = 0;
  for (const PageModel& page : scenario.pages) {
    shares += page.share;
    const std::string& pool = pool_of(page, scenario.policy);
    if (std::ranges::find(rates_, pool, [](const auto& rate) { return rate.first; }) == rates_.end())
      rates_.emplace_back(pool, Baseline(hour));
  }
  latencies_.assign(scenario.upstreams.size(), Baseline(hour));
  const Duration start = wall(kStart);
  for (int past = 1; past <= model_.days * Baseline::kDay; ++past) {
    const Duration at = start - past * hour;
    for (std::size_t i = 0; i < latencies_.size(); ++i) latencies_[i].record(at, mean(scenario.upstreams[i]));
    const Duration of_day = hour * ((Baseline::kDay - past % Baseline::kDay) % Baseline::kDay) + hour / 2;
    // A run that is no day is one of its hours.
    const double rate = scenario.load.rate_at(model_.day <= std::chrono::hours(1) ? of_day : Duration::zero());
    for (auto& [pool, baseline] : rates_) {
      double share = 0;
      for (const PageModel& page : scenario.pages)
        if (pool_of(page, scenario.policy) == pool) share += page.share;
      baseline.record(at, rate * share / shares);
    }
  }
}

Duration PenstockHistory::latency(std::uint32_t upstream, Instant now) const {
  const auto expected = latencies_[upstream].expected(wall(now));
  return decision::from_seconds(expected ? expected->value : 0);
}

std::optional<double> PenstockHistory::rate(const std::string& pool, Instant now) const {
  for (const auto& [name, baseline] : rates_)
    if (name == pool) return baseline.highest(wall(now), wall(now) + baseline.hour());
  return std::nullopt;
}

}  // namespace penstock::simulate
