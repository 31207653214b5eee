#pragma once

#include <memory>
#include <string>

#include "controller/loop/decide.h"

namespace penstock::controller {

// A fleet and what Prometheus says of it, made by numbers: service "shop", pool "default", upstream "A".
class SampleFleet {
 public:
  static constexpr decision::Instant kStart{std::chrono::hours(1)};

  SampleFleet() {
    policy_ = std::make_shared<v1::Policy>();
    policy_->mutable_metadata()->set_name("shop");
    policy_->mutable_metadata()->set_revision(1);
    policy_->mutable_spec()->set_service("shop");
    v1::Pool& pool = *policy_->mutable_spec()->add_pools();
    pool.set_name("default");
    pool.set_min(64);
    pool.set_max(20'000);
    v1::Upstream& upstream = *policy_->mutable_spec()->add_upstreams();
    upstream.set_name("A");
    upstream.mutable_match()->add_hosts("a.example.com");
  }

  // A connected node whose pool has this limit by itself.
  NodeState& add(const std::string& name, int limit) {
    NodeState node;
    node.id = {"shop", name};
    node.connected = true;
    node.lease_until = kStart + std::chrono::hours(10);
    node.policy = policy_;
    auto counters = std::make_shared<v1::Counters>();
    counters->set_scheduler_threads(2);
    v1::PoolCounters& pool = *counters->add_pools();
    pool.set_pool("default");
    pool.set_limit(limit);
    v1::UpstreamCounters& upstream = *counters->add_upstreams();
    upstream.set_upstream("A");
    upstream.set_breaker(v1::BREAKER_STATE_CLOSED);
    node.latest = {counters, kStart};
    fleet_.nodes.push_back(std::move(node));
    return fleet_.nodes.back();
  }
  NodeState& node(const std::string& name) {
    for (NodeState& node : fleet_.nodes) {
      if (node.id.node == name) return node;
    }
    throw std::out_of_range(name);
  }
  v1::Counters& counters(const std::string& name) { return const_cast<v1::Counters&>(*node(name).latest.counters); }
  v1::Policy& policy() { return *policy_; }

  // Prometheus has fresh values of every node.
  void measure(double rate, double latency) {
    for (const char* name : {"pool_rate", "pool_latency", "pool_in_flight", "node_age", "node_memory", "node_cpu"}) {
      signals_.readings[name] = {SignalState::value, "", ""};
    }
    for (const NodeState& node : fleet_.nodes) {
      signals_.pools[{node.id, "default"}] = {rate, latency, 0.0};
      signals_.nodes[node.id].age = 0.5;
    }
  }

  // One turn: time goes on by a second, and what is planned is in force at the next.
  Plan turn() {
    now_ += std::chrono::seconds(1);
    for (NodeState& node : fleet_.nodes) node.latest.at = now_;
    Plan plan = decide(fleet_, signals_, now_, state_);
    for (NodeState& node : fleet_.nodes) node.desired = plan.desired[node.id];
    return plan;
  }
  // Limit that the plan gives; 0: none.
  static int limit(Plan& plan, const std::string& name) {
    const auto& pools = plan.desired[{"shop", name}].pools;
    const auto found = pools.find("default");
    return found == pools.end() ? 0 : found->second.limit();
  }

  FleetSnapshot fleet_;
  Signals signals_;
  LoopState state_;
  decision::Instant now_ = kStart;

 private:
  std::shared_ptr<v1::Policy> policy_;
};

}  // namespace penstock::controller
