#pragma once

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "controller/loop/cause_tests.h"
#include "policy/convert.h"

namespace penstock::controller {

// Nodes that stream what they count of calls to one third party, as a fluid: it answers `capacity` calls a second at
// most, none faster than 200 ms, the oldest first; callers leave after 10 s. Nodes obey what they are told.
class StreamingFleet {
 public:
  struct Node {
    NodeId id;
    std::shared_ptr<const v1::Policy> policy;
    // Calls a second.
    double rate = 100;
    bool connected = true;
    bool tells = true;
    // Connected, but no counters come.
    bool silent = false;
    std::string own_state = "free";
    // As told.
    std::optional<Lead> lead;
    decision::Duration period{};

    std::shared_ptr<v1::Counters> counters;
    decision::Instant counted{};
    double waiting = 0, in_flight = 0, attempts = 0, ok = 0, failed = 0, latency = 0;
  };

  static std::shared_ptr<v1::Policy> make_policy(const std::string& service, const std::string& upstream = "A",
                                                 const std::string& host = "a.example.com") {
    auto policy = std::make_shared<v1::Policy>();
    policy->mutable_metadata()->set_name(service);
    policy->mutable_metadata()->set_revision(1);
    policy->mutable_spec()->set_service(service);
    add_upstream(*policy, upstream, host);
    return policy;
  }
  static void add_upstream(v1::Policy& policy, const std::string& name, const std::string& host) {
    v1::Upstream& upstream = *policy.mutable_spec()->add_upstreams();
    upstream.set_name(name);
    upstream.mutable_match()->add_hosts(host);
  }

  Node& add(const std::string& name, std::shared_ptr<const v1::Policy> policy) {
    nodes_.emplace_back();
    nodes_.back().id = {policy->spec().service(), name};
    nodes_.back().policy = std::move(policy);
    return nodes_.back();
  }
  Node& operator[](std::size_t i) { return nodes_[i]; }

  // One tick of 100 ms: the world goes on, nodes stream, the tests are looked at, nodes are told.
  CauseTests::Plan turn() {
    now_ += CauseTests::kTick;
    flow();
    std::vector<Streaming> streaming;
    for (Node& node : nodes_) {
      stream(node);
      streaming.push_back({node.id, node.connected, node.policy, {node.counters, node.counted}});
    }
    std::ranges::sort(streaming, {}, &Streaming::id);
    CauseTests::Plan plan = tests_.turn(streaming, now_, now_.time_since_epoch(), history_);
    for (const Fleet::Leading& leading : plan.leads)
      for (Node& node : nodes_)
        if (node.id == leading.change.id && node.policy == leading.governed_by) node.lead = leading.change.lead;
    for (const auto& [id, period] : plan.periods)
      for (Node& node : nodes_)
        if (node.id == id) node.period = period;
    for (const v1::Decision& decision : plan.decisions) decisions_.push_back(decision);
    return plan;
  }
  void run(double seconds) {
    for (int i = 0; i < static_cast<int>(seconds * 10); ++i) turn();
  }
  // Turns until it is so, for so many seconds at most.
  bool run_until(const std::function<bool()>& reached, double seconds) {
    for (int i = 0; i < static_cast<int>(seconds * 10); ++i) {
      turn();
      if (reached()) return true;
    }
    return false;
  }

  int limits() const {
    int sum = 0;
    for (const Node& node : nodes_) sum += node.lead && node.lead->limit ? *node.lead->limit : 0;
    return sum;
  }
  std::vector<v1::Decision> verdicts(const std::string& verdict) const {
    std::vector<v1::Decision> result;
    for (const auto& decision : decisions_)
      if (decision.verdict() == verdict) result.push_back(decision);
    return result;
  }
  std::string story() const {
    std::string text;
    for (const auto& decision : decisions_)
      text += decision.service() + "/" + decision.name() + " " + decision.reason() + " " + decision.verdict() + ": " +
              decision.message() + "\n";
    return text;
  }

  double capacity_ = 1000;
  // Seconds that a call takes beside its turn.
  double latency_ = 0.2;
  CauseTests tests_;
  BaselineViews history_;
  std::vector<v1::Decision> decisions_;
  decision::Instant now_{std::chrono::hours(1)};

 private:
  static constexpr double kPatience = 10;

  void flow() {
    const double dt = 0.1;
    double in_flight = 0;
    for (Node& node : nodes_) {
      node.attempts += node.rate * dt;
      node.waiting += node.rate * dt;
      const double limit = node.lead && node.lead->limit ? *node.lead->limit : 1e9;
      const double start = std::clamp(limit - node.in_flight, 0.0, node.waiting);
      node.waiting -= start;
      node.in_flight += start;
      // Callers leave the queue and the third party after their patience.
      const double queue = std::min(node.waiting, std::max(0.0, node.waiting - node.rate * kPatience));
      node.waiting -= queue;
      node.failed += queue;
      in_flight += node.in_flight;
    }
    if (in_flight <= 0) return;
    const double throughput = std::min(capacity_, in_flight / latency_);
    const double latency = std::min(in_flight / throughput, kPatience);
    for (Node& node : nodes_) {
      const double share = node.in_flight / in_flight;
      const double done = std::min(node.in_flight, throughput * dt * share);
      node.ok += done;
      node.latency += done * latency;
      node.in_flight -= done;
      const double lost = std::max(0.0, node.in_flight - throughput * share * kPatience);
      node.failed += lost;
      node.in_flight -= lost;
    }
  }

  void stream(Node& node) {
    if (!node.connected || node.silent) return;
    auto counters = std::make_shared<v1::Counters>();
    counters->mutable_start_time()->set_seconds(1);
    for (const auto& of : node.policy->spec().upstreams()) {
      v1::UpstreamCounters& upstream = *counters->add_upstreams();
      upstream.set_upstream(of.name());
      upstream.set_attempts(static_cast<std::uint64_t>(node.attempts));
      upstream.set_ok(static_cast<std::uint64_t>(node.ok));
      upstream.set_timeouts(static_cast<std::uint64_t>(node.failed));
      upstream.set_in_flight(static_cast<int>(node.in_flight));
      upstream.set_waiting(static_cast<int>(node.waiting));
      *upstream.mutable_ok_latency() = policy::to_proto(decision::from_seconds(node.latency));
      *upstream.mutable_mean_age() = policy::to_proto(decision::from_seconds(latency_ / 2));
      if (node.tells) *upstream.mutable_patience() = policy::to_proto(std::chrono::seconds(10));
      upstream.set_breaker(v1::BREAKER_STATE_CLOSED);
      upstream.set_cause_state(node.own_state);
    }
    node.counters = std::move(counters);
    node.counted = now_;
  }

  std::vector<Node> nodes_;
};

}  // namespace penstock::controller
