#pragma once

#include <algorithm>
#include <cmath>
#include <deque>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "penstock/decision/cause_test.h"
#include "penstock/decision/fleet_test.h"
#include "penstock/decision/upstream_signals.h"
#include "tests/unit/decision/seeded_random.h"

namespace penstock::decision {

// One upstream, called by some nodes under open-loop load, each with a cause test of its own, in steps of 2 ms of
// invented time. Callers wait `patience` and then leave, which frees their place; the upstream does not notice.
class Plant {
 public:
  // Time of a call that starts at this second and does not depend on others; infinite: none.
  using Latency = std::function<double(double, SeededRandom&)>;

  struct Setup {
    int nodes = 1;
    // Calls per second and node.
    double rate = 75;
    double patience = 10;
    // The upstream's own latency.
    Latency latency;
    // Servers, each busy for log-normal times of this mean with each call; 0: no bound.
    std::function<int(double)> servers;
    double service = 0.05;
    // Calls per second of others to these servers, who hold nothing back.
    std::function<double(double)> others;
    // Calls per second that it completes with n in it, the oldest first; unset: not used.
    std::function<double(double, double)> completions;
    std::uint64_t seed = 1;
    bool act = true;
    // Of the nodes' wall clocks against each other, seconds.
    double skew = 0;
    // One test on the sums of all nodes, instead of one on each.
    bool fleet = false;
  };

  struct Call {
    double arrived = 0;
    double started = -1;
    double ends = std::numeric_limits<double>::infinity();
  };

  struct Node {
    UpstreamSignals signals;
    CauseTest test;
    UpstreamCounts counts;
    std::vector<Call> in_flight;
    std::deque<Call> waiting;
    double next_arrival = 0;
    struct Event {
      double at;
      CauseTest::Decision decision;
    };
    std::vector<Event> decisions;
    int lost = 0;
    int shed = 0;
    int answered = 0;
  };

  explicit Plant(Setup setup) : setup_(std::move(setup)), random_(setup_.seed), nodes_(setup_.nodes) {
    if (!setup_.latency) setup_.latency = [](double, SeededRandom& random) { return random.log_normal(0.046, 0.4); };
    for (Node& node : nodes_) node.next_arrival = random_.exponential(1 / setup_.rate);
  }

  Setup& setup() { return setup_; }
  double now() const { return now_; }
  Node& node(std::size_t i = 0) { return nodes_[i]; }
  std::vector<Node>& nodes() { return nodes_; }

  void run_to(double until) {
    while (now_ < until - 1e-9) {
      now_ = static_cast<double>(++steps_) * kStep;
      if (setup_.completions) complete_shared();
      if (setup_.others && random_.chance(setup_.others(now_) * kStep)) serve();
      for (Node& node : nodes_) step(node);
      if (steps_ % 50 == 0) {
        for (std::size_t i = 0; i < nodes_.size(); ++i) tick(nodes_[i], static_cast<double>(i) * setup_.skew);
        if (setup_.fleet) tick_fleet();
      }
    }
  }

  // Decisions of a verdict, and the first of them after `from`.
  int count(Cause verdict, std::size_t i = 0) const {
    int n = 0;
    for (const auto& event : nodes_[i].decisions) n += event.decision.verdict == verdict ? 1 : 0;
    return n;
  }
  double first(Cause verdict, double from, std::size_t i = 0) const {
    for (const auto& event : nodes_[i].decisions) {
      if (event.at >= from && event.decision.verdict == verdict) return event.at;
    }
    return std::numeric_limits<double>::infinity();
  }
  int answered() const {
    int n = 0;
    for (const Node& node : nodes_) n += node.answered;
    return n;
  }
  int lost() const {
    int n = 0;
    for (const Node& node : nodes_) n += node.lost + node.shed;
    return n;
  }
  std::string story(std::size_t i = 0) const {
    std::string text;
    for (const auto& event : nodes_[i].decisions) {
      const auto& d = event.decision;
      text += std::to_string(event.at) + " " + std::string(to_string(d.from)) + " -> " + std::string(to_string(d.to)) +
              " " + std::string(to_string(d.verdict)) + (d.limit ? " limit " + std::to_string(*d.limit) : "") + ": " +
              d.sentence + " [" + d.formula + "]\n";
    }
    return text;
  }

 private:
  static constexpr double kStep = 0.002;

  int in_upstream() const {
    std::size_t n = 0;
    for (const Node& node : nodes_) n += node.in_flight.size();
    return static_cast<int>(n);
  }

  void start(Node& node, Call call) {
    call.started = now_;
    if (!setup_.completions) {
      call.ends = now_ + setup_.latency(now_, random_);
      if (setup_.servers) call.ends = serve();
    }
    node.in_flight.push_back(call);
  }

  // When a call that comes now has been served.
  double serve() {
    const auto servers = static_cast<std::size_t>(setup_.servers(now_));
    while (free_at_.size() > servers) free_at_.erase(std::max_element(free_at_.begin(), free_at_.end()));
    while (free_at_.size() < servers) free_at_.push_back(now_);
    const auto server = std::min_element(free_at_.begin(), free_at_.end());
    *server = std::max(*server, now_) + random_.log_normal(setup_.service * 0.956, 0.3);
    return *server;
  }

  void complete_shared() {
    credit_ += setup_.completions(now_, in_upstream()) * kStep * (0.5 + random_.uniform());
    while (credit_ >= 1) {
      Node* of = nullptr;
      for (Node& node : nodes_) {
        if (!node.in_flight.empty() && (!of || node.in_flight.front().started < of->in_flight.front().started)) {
          of = &node;
        }
      }
      if (!of) {
        credit_ = 0;
        return;
      }
      credit_ -= 1;
      of->in_flight.front().ends = now_;
      finish(*of, 0);
    }
  }

  void finish(Node& node, std::size_t i) {
    const Call call = node.in_flight[i];
    node.in_flight.erase(node.in_flight.begin() + static_cast<std::ptrdiff_t>(i));
    ++node.counts.ok;
    ++node.answered;
    node.counts.latency += from_seconds(now_ - call.started);
  }

  bool room(const Node& node) const {
    const auto limit =
        setup_.fleet ? fleet_.limit_of(static_cast<std::uint64_t>(&node - nodes_.data())) : node.test.holds().limit;
    return !setup_.act || !limit || static_cast<int>(node.in_flight.size()) < *limit;
  }

  void step(Node& node) {
    for (std::size_t i = 0; i < node.in_flight.size();) {
      const Call& call = node.in_flight[i];
      if (call.ends <= now_) {
        finish(node, i);
      } else if (now_ - call.arrived >= setup_.patience) {
        node.in_flight.erase(node.in_flight.begin() + static_cast<std::ptrdiff_t>(i));
        ++node.counts.failed;
        ++node.lost;
      } else {
        ++i;
      }
    }
    while (node.next_arrival <= now_) {
      node.next_arrival += random_.exponential(1 / setup_.rate);
      ++node.counts.attempts;
      node.waiting.push_back({.arrived = now_});
    }
    const bool newest_first =
        fleet_.tight() || node.test.holds().state == CauseState::search || node.test.holds().state == CauseState::track;
    const double longest = newest_first ? setup_.patience / 4 : setup_.patience;
    while (!node.waiting.empty() && now_ - node.waiting.front().arrived >= longest) {
      node.waiting.pop_front();
      ++node.shed;
    }
    while (!node.waiting.empty() && room(node)) {
      if (newest_first) {
        start(node, node.waiting.back());
        node.waiting.pop_back();
      } else {
        start(node, node.waiting.front());
        node.waiting.pop_front();
      }
    }
  }

  void tick(Node& node, double skew) {
    node.counts.in_flight = static_cast<int>(node.in_flight.size());
    node.counts.waiting = static_cast<int>(node.waiting.size());
    double ages = 0;
    for (const Call& call : node.in_flight) ages += now_ - call.started;
    node.counts.mean_age = from_seconds(node.in_flight.empty() ? 0 : ages / static_cast<double>(node.in_flight.size()));
    const Instant at = Instant{} + from_seconds(now_);
    node.signals.tick(node.counts, node.test.unusual(), at);
    CauseContext context;
    context.wall = from_seconds(1e6 + now_ + skew);
    context.patience = from_seconds(setup_.patience);
    if (!setup_.fleet) node.test.tick(node.signals, context, at);
    while (auto decision = node.test.take_decision()) node.decisions.push_back({now_, std::move(*decision)});
  }

  void tick_fleet() {
    std::vector<FleetTest::Node> streamed;
    for (std::size_t i = 0; i < nodes_.size(); ++i) {
      streamed.push_back({.id = i,
                          .life = 0,
                          .counts = nodes_[i].counts,
                          .patience = from_seconds(setup_.patience),
                          .breaker = BreakerState::closed,
                          .refusing = false,
                          .memory_pressure = 0,
                          .run_delay = {}});
    }
    fleet_.tick({.now = Instant{} + from_seconds(now_), .wall = from_seconds(1e6 + now_), .limit = {.min = 1}},
                streamed);
    while (auto decision = fleet_.take_decision()) nodes_[0].decisions.push_back({now_, std::move(*decision)});
  }

  Setup setup_;
  FleetTest fleet_;
  SeededRandom random_;
  std::vector<Node> nodes_;
  std::vector<double> free_at_;
  double credit_ = 0;
  std::int64_t steps_ = 0;
  double now_ = 0;
};

}  // namespace penstock::decision
