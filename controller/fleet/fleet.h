#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "controller/clock.h"
#include "controller/fleet/baseline_view.h"
#include "penstock/v1/admin.pb.h"
#include "penstock/v1/agent.pb.h"
#include "penstock/v1/policy.pb.h"

// The fleet as the controller knows it now: who is connected, what each node counted last, and what each node should
// do.
//
// Thread-safe. Snapshots are values and stay as they were taken. What a node should do is put together here from three
// sources, each owned by one writer: the policy (admin service), the directives (loop) and the overrides (admin
// service), which stand above the directives. Any change of the result wakes the node's stream, which pushes it.
// Nothing here is durable: policies and overrides are read from the store at start, nodes come back by themselves.
namespace penstock::controller {

struct NodeId {
  std::string service;
  std::string node;
  auto operator<=>(const NodeId&) const = default;
};

// What the loop wants of one node. The maps are by pool and upstream; what is absent is left to the policy.
struct Desired {
  std::map<std::string, v1::PoolDirective> pools;
  std::map<std::string, v1::UpstreamDirective> upstreams;
};

// What the fleet's test for causes wants of one upstream on one node.
struct Lead {
  // Calls in flight; unset: none of the fleet.
  std::optional<int> limit;
  bool tight = false;
  std::string reason;
  bool operator==(const Lead&) const = default;
};
struct LeadChange {
  NodeId id;
  std::string upstream;
  // Unset: the node judges by itself.
  std::optional<Lead> lead;
};

// What one node is told: policy, directives and overrides put together.
struct Effective {
  // Grows with every change of content.
  std::uint64_t version = 0;
  // Null: no policy governs the node (any more).
  std::shared_ptr<const v1::Policy> policy;
  // In SHADOW beside it; null: none.
  std::shared_ptr<const v1::Policy> shadow;
  std::map<std::string, v1::PoolDirective> pools;
  std::map<std::string, v1::UpstreamDirective> upstreams;
  bool drain = false;
  // Between two counters; zero: by the node's own judgement.
  decision::Duration counters_period{};
};

// What one node said last, and when it arrived.
struct CountersAt {
  std::shared_ptr<const v1::Counters> counters;  // null: none yet
  decision::Instant at{};
};

struct NodeState {
  NodeId id;
  std::shared_ptr<const v1::Hello> hello;
  bool connected = false;
  // Of the last change of `connected`.
  decision::Instant connected_since{};
  // Until when the node acts on what it was told; in the past when it has no lease.
  decision::Instant lease_until{};
  // The policy that governs the node; null when none does. An active one goes before one in SHADOW.
  std::shared_ptr<const v1::Policy> policy;
  // Policies in SHADOW that claim the node beside it.
  std::vector<std::shared_ptr<const v1::Policy>> shadows;
  // What it acknowledged last.
  std::uint64_t acked_version = 0;
  std::int64_t acked_revision = 0;
  // Etag of the policy in SHADOW beside it; empty: none.
  std::string acked_shadow;
  // What it refuses, with the reason; empty once it takes it or it is no longer wanted.
  std::string refusal;
  CountersAt latest;
  // About five seconds (kRateWindow) older than `latest`, from the same process: the difference gives rates.
  // Null counters until there are two.
  CountersAt earlier;
  // By upstream.
  std::map<std::string, v1::BreakerTransition> last_transition;
  Desired desired;
};

// What a node streams, as the tests for causes read it.
struct Streaming {
  NodeId id;
  bool connected = false;
  std::shared_ptr<const v1::Policy> policy;
  CountersAt latest;
};

// What Prometheus told of one pool of a service, and what the loop made of it.
struct PoolObserved {
  std::optional<double> rate;
  std::optional<decision::Duration> latency;
  // The last sizing decision, in a sentence.
  std::string reason;
};

// How the loop is doing.
struct LoopStatus {
  std::vector<v1::Signal> signals;
  std::chrono::system_clock::time_point last_loop{};
  decision::Duration duration{};
};

class Fleet {
 public:
  static constexpr std::chrono::seconds kRateWindow{5};
  // A node that is gone is forgotten this long after its lease ended.
  static constexpr std::chrono::minutes kForgetAfter{10};

  explicit Fleet(Clock& clock);
  ~Fleet();
  Fleet(const Fleet&) = delete;

  // --- Read: everyone.
  std::vector<NodeState> nodes() const;
  std::optional<NodeState> node(const NodeId& id) const;
  // Null when there is none of that name.
  std::shared_ptr<const v1::Policy> policy(const std::string& name) const;
  std::vector<std::shared_ptr<const v1::Policy>> policies() const;
  // The one that governs nodes of `service` with these labels.
  std::shared_ptr<const v1::Policy> match(const std::string& service,
                                          const std::map<std::string, std::string>& labels) const;
  // Those not expired.
  std::vector<v1::Override> overrides() const;
  std::optional<v1::Override> find_override(const std::string& kind, const std::string& name,
                                            const std::string& service) const;
  std::optional<PoolObserved> pool_observed(const std::string& service, const std::string& pool) const;
  LoopStatus loop_status() const;
  // In the order of their ids.
  std::vector<Streaming> streaming() const;
  // What the fleet's test holds of one upstream.
  std::optional<v1::CauseView> cause(const std::string& service, const std::string& upstream) const;
  // By service and upstream.
  using Causes = std::map<std::pair<std::string, std::string>, v1::CauseView>;
  Causes causes() const;
  Effective effective(const NodeId& id) const;
  // What recorded weeks say; never null.
  std::shared_ptr<const Baselines> baselines() const;

  // --- Write: the loop.
  // Replaces the node's directives; equal to what is there: nothing happens. Unknown nodes are ignored. For a policy in
  // SHADOW the loop sets none.
  void set_desired(const NodeId& id, Desired desired);
  void set_pool_observed(const std::string& service, const std::string& pool, PoolObserved observed);
  void set_loop_status(LoopStatus status);
  // Of nodes whose policy is still `governed_by`; the others are ignored.
  struct Leading {
    LeadChange change;
    std::shared_ptr<const v1::Policy> governed_by;
  };
  void lead(const std::vector<Leading>& changes);
  void set_counters_period(const NodeId& id, decision::Duration period);
  // Replaces all.
  void set_causes(Causes causes);
  // Replaces all. Nodes are told what to expect of an upstream anew when it moved by kExpectationBand.
  void set_baselines(Baselines baselines);
  static constexpr double kExpectationBand = 0.05;
  // Drops expired overrides and forgets nodes that are long gone. Returns the overrides that ended. Called once a turn.
  std::vector<v1::Override> expire();

  // --- Write: the admin service, after the store has it.
  void set_policy(std::shared_ptr<const v1::Policy> policy);
  void remove_policy(const std::string& name);
  void set_override(const v1::Override& imposed);
  void remove_override(const std::string& kind, const std::string& name, const std::string& service);

  // --- Write: the agent streams. `session` tells the streams of one node apart: calls of a replaced one are ignored.
  using Wake = std::function<void()>;
  // Registers a stream; returns its session. `wake` is called without locks held whenever effective() has changed, from
  // any thread. `replaced` is called once when another stream of the same node takes its place.
  std::uint64_t connect(const v1::Hello& hello, Wake wake, Wake replaced);
  // False when the session had been replaced. No wake is called after it returns, except one that is already under way.
  bool disconnect(const NodeId& id, std::uint64_t session);
  void record_counters(const NodeId& id, std::uint64_t session, v1::Counters counters);
  // Clears the refusal.
  void record_ack(const NodeId& id, std::uint64_t session, const Effective& acked, decision::Instant lease_until);
  void record_refusal(const NodeId& id, std::uint64_t session, const std::string& reason);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace penstock::controller
