#include "controller/simulate/run.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <exception>
#include <memory>
#include <mutex>
#include <thread>

#include "controller/simulate/node.h"
#include "controller/simulate/prometheus.h"
#include "controller/simulate/upstream.h"
#include "controller/simulate/users.h"

namespace penstock::simulate {
namespace {

using namespace std::chrono_literals;

bool any(const std::vector<Window>& windows, Duration t) {
  return std::ranges::any_of(windows, [&](const Window& window) { return window.contains(t); });
}

// Everything that there is in one run. Also what surrounds the nodes: scrapes, and the turns of the fleet's brain.
class World final : public Actor, private FleetHost {
 public:
  World(const Scenario& scenario, const Contender& contender, std::uint64_t seed)
      : scenario_(scenario),
        outcome_(scenario),
        users_(scenario, events_, outcome_, seed),
        ensemble_(contender.make(scenario, seed)),
        prometheus_(scenario.monitoring, scenario.nodes.count, seed) {
    for (const UpstreamModel& model : scenario.upstreams) {
      upstreams_.push_back(std::make_unique<Upstream>(model, scenario.duration, events_, seed));
    }
    const Node::World world{scenario, events_, outcome_, users_, upstreams_, *ensemble_, seed};
    for (int i = 0; i < scenario.nodes.count; ++i) {
      nodes_.push_back(std::make_unique<Node>(world, static_cast<std::uint32_t>(i)));
      const Duration phase = scenario.monitoring.scrape_interval * i / scenario.nodes.count;
      events_.at(kStart + phase, *this, kScrape, static_cast<std::uint32_t>(i));
    }
    users_.open(nodes_);
    events_.at(kStart, *this, kTurn, 0);
  }

  Row live() {
    events_.run(at(scenario_.duration + scenario_.users.patience));
    Row row = outcome_.row();
    row.events = events_.happened();
    return row;
  }

  void happen(std::uint8_t kind, std::uint32_t node) override {
    if (kind == kTurn) {
      events_.after(100ms, *this, kTurn, 0);
      return ensemble_->turn(*this);
    }
    events_.after(scenario_.monitoring.scrape_interval, *this, kScrape, node);
    // Without Prometheus nobody scrapes; without a node there is nothing to scrape.
    if (prometheus() == nullptr) return;
    if (!nodes_[node]->up()) return prometheus_.missed(node);
    Exposition exposition;
    nodes_[node]->strategy()->expose(exposition);
    exposition.resident_bytes = static_cast<double>(nodes_[node]->memory().used);
    exposition.cpu_seconds = decision::seconds(nodes_[node]->cpu_used());
    prometheus_.scrape(node, exposition, events_.now());
  }

 private:
  enum Kind : std::uint8_t { kScrape, kTurn };

  Instant now() const override { return events_.now(); }
  const Scenario& scenario() const override { return scenario_; }
  Strategy* strategy(std::uint32_t node) override { return nodes_[node]->strategy(); }
  bool running() const override { return !any(scenario_.outages.controller, since_start(events_.now())); }
  bool connected(std::uint32_t node) const override {
    if (!nodes_[node]->up()) return false;
    return std::ranges::none_of(scenario_.outages.stream, [&](const StreamOutage& outage) {
      return outage.window.contains(since_start(events_.now())) && outage.node.value_or(node) == node;
    });
  }
  const Prometheus* prometheus() const override {
    return any(scenario_.outages.prometheus, since_start(events_.now())) ? nullptr : &prometheus_;
  }

  const Scenario& scenario_;
  Events events_;
  Outcome outcome_;
  Users users_;
  std::unique_ptr<Ensemble> ensemble_;
  std::vector<std::unique_ptr<Upstream>> upstreams_;
  std::vector<std::unique_ptr<Node>> nodes_;
  Prometheus prometheus_;
};

}  // namespace

Row run(const Scenario& scenario, const Contender& contender, std::uint64_t seed) {
  const auto began = std::chrono::steady_clock::now();
  Row row = World(scenario, contender, seed).live();
  row.policy = contender.name;
  row.seed = seed;
  row.wall_s = decision::seconds(std::chrono::steady_clock::now() - began);
  return row;
}

std::vector<Row> run_all(const std::vector<Job>& jobs, unsigned threads, const std::function<void(const Row&)>& done) {
  std::vector<Row> rows(jobs.size());
  std::atomic<std::size_t> next{0};
  std::mutex lock;
  std::exception_ptr failure;
  const auto work = [&] {
    for (std::size_t i; (i = next.fetch_add(1)) < jobs.size();) {
      try {
        rows[i] = run(*jobs[i].scenario, *jobs[i].contender, jobs[i].seed);
        const std::lock_guard guard(lock);
        if (done) done(rows[i]);
      } catch (...) {
        const std::lock_guard guard(lock);
        if (!failure) failure = std::current_exception();
        next = jobs.size();
      }
    }
  };
  {
    std::vector<std::jthread> workers;
    for (unsigned i = 1; i < std::min<std::size_t>(threads, jobs.size()); ++i) workers.emplace_back(work);
    work();
  }
  if (failure) std::rethrow_exception(failure);
  return rows;
}

}  // namespace penstock::simulate
