#include "controller/simulate/prometheus.h"

namespace penstock::simulate {

Prometheus::Prometheus(const MonitoringModel& model, int nodes, std::uint64_t seed)
    : model_(model), random_(seed, "prometheus"), visible_(static_cast<std::size_t>(nodes)) {}

void Prometheus::scrape(std::uint32_t node, const Exposition& exposition, Instant now) {
  if (model_.lost_scrapes > 0 && random_.chance(model_.lost_scrapes)) return;
  std::deque<Sample>& samples = visible_[node];
  while (!samples.empty() && samples.front().at < now - model_.delay - window()) samples.pop_front();
  samples.push_back({now, exposition});
}

void Prometheus::missed(std::uint32_t node) { visible_[node].clear(); }

const Exposition* Prometheus::latest(std::uint32_t node, Instant now) const {
  const Exposition* found = nullptr;
  for (const Sample& sample : visible_[node]) {
    if (sample.at <= now - model_.delay && sample.at >= now - model_.delay - window()) found = &sample.exposition;
  }
  return found;
}

}  // namespace penstock::simulate
