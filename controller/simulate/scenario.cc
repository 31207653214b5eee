#include "controller/simulate/scenario.h"

#include <algorithm>

namespace penstock::simulate {

std::string_view to_string(Truth truth) {
  switch (truth) {
    case Truth::none:
      return "none";
    case Truth::theirs:
      return "theirs";
    case Truth::ours:
      return "ours";
    case Truth::full:
      return "full";
    case Truth::dead:
      return "dead";
  }
  return "";
}

double LoadModel::rate_at(Duration t) const {
  double factor = 1;
  if (!curve.empty()) {
    const auto after = std::ranges::find_if(curve, [&](const RatePoint& point) { return point.at > t; });
    if (after == curve.begin()) {
      factor = after->factor;
    } else if (after == curve.end()) {
      factor = curve.back().factor;
    } else {
      const RatePoint& before = *std::prev(after);
      const double along = decision::seconds(t - before.at) / decision::seconds(after->at - before.at);
      factor = before.factor + along * (after->factor - before.factor);
    }
  }
  for (const Burst& burst : bursts) {
    if (burst.window.contains(t)) factor *= burst.factor;
  }
  return rate * factor;
}

double LoadModel::highest_rate() const {
  double curve_factor = curve.empty() ? 1 : 0;
  for (const RatePoint& point : curve) curve_factor = std::max(curve_factor, point.factor);
  // Bursts that overlap multiply; the rate only changes between them at their beginnings.
  double burst_factor = 1;
  for (const Burst& burst : bursts) {
    double there = 1;
    for (const Burst& other : bursts) {
      if (other.window.contains(burst.window.from)) there *= other.factor;
    }
    burst_factor = std::max(burst_factor, there);
  }
  return rate * curve_factor * burst_factor;
}

std::optional<Window> Scenario::trouble() const {
  std::optional<Window> all;
  const auto take_in = [&](const Window& window) {
    if (!all) all = window;
    all->from = std::min(all->from, window.from);
    all->to = std::max(all->to, window.to);
  };
  for (const UpstreamModel& upstream : upstreams) {
    for (const Episode& episode : upstream.episodes) take_in(episode.window);
  }
  for (const Window& window : overload) take_in(window);
  return all;
}

Truth Scenario::truth(std::uint32_t upstream, Duration t) const {
  const UpstreamModel& model = upstreams[upstream];
  for (auto episode = model.episodes.rbegin(); episode != model.episodes.rend(); ++episode) {
    if (episode->window.contains(t)) return episode->truth;
  }
  return model.capacity ? Truth::ours : Truth::none;
}

}  // namespace penstock::simulate
