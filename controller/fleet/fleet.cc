#include "controller/fleet/fleet.h"

#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <mutex>
#include <set>
#include <utility>

#include "controller/fleet/effective.h"
#include "policy/convert.h"

namespace penstock::controller {
namespace {

using google::protobuf::util::MessageDifferencer;
bool governs(const v1::Policy& policy, const std::string& service, const std::map<std::string, std::string>& labels) {
  if (policy.spec().service() != service) return false;
  for (const auto& [key, value] : policy.spec().node_labels())
    if (const auto found = labels.find(key); found == labels.end() || found->second != value) return false;
  return true;
}

bool in_shadow(const v1::Policy& policy) { return policy.spec().mode() == v1::POLICY_MODE_SHADOW; }

struct Node {
  NodeState state;
  std::map<std::string, std::string> labels;
  Effective effective;
  std::map<std::string, Lead> leads;
  decision::Duration counters_period{};
  std::deque<CountersAt> recent;
  std::uint64_t session = 0;
  Fleet::Wake wake, replaced;

  Told told(const Expectations& expected) const { return {state, leads, counters_period, effective, expected}; }
};

}  // namespace

struct Fleet::State {
  explicit State(Clock& clock) : clock(clock) {}

  Clock& clock;
  mutable std::mutex mutex;
  std::map<NodeId, Node> nodes;
  std::map<std::string, std::shared_ptr<const v1::Policy>> policies;
  Overrides overrides;
  std::map<std::pair<std::string, std::string>, PoolObserved> pools;
  Causes causes;
  LoopStatus loop;
  std::shared_ptr<const Baselines> baselines = std::make_shared<Baselines>();
  // As nodes were told last.
  Expectations expected;
  std::uint64_t next_session = 1;
  std::uint64_t next_version = 1;

  std::shared_ptr<const v1::Policy> match(const std::string& service,
                                          const std::map<std::string, std::string>& labels) const {
    std::shared_ptr<const v1::Policy> shadow;
    for (const auto& [name, policy] : policies) {
      if (!governs(*policy, service, labels)) continue;
      if (!in_shadow(*policy)) return policy;
      shadow = policy;
    }
    return shadow;
  }

  void assign_policies(Node& node) {
    const auto governing = match(node.state.id.service, node.labels);
    // Tests begin anew under another policy, which may want none.
    if (governing != node.state.policy) node.leads.clear();
    node.state.policy = governing;
    node.state.shadows.clear();
    for (const auto& [name, policy] : policies)
      if (policy != node.state.policy && in_shadow(*policy) && governs(*policy, node.state.id.service, node.labels))
        node.state.shadows.push_back(policy);
  }

  // Composes again; adds the stream to wake when the content changed.
  void refresh(Node& node, std::vector<Wake>& wakes) {
    Effective next = compose(node.told(expected), overrides);
    if (node.effective.version != 0 && same_content(next, node.effective)) return;
    next.version = next_version++;
    node.effective = std::move(next);
    if (node.state.connected && node.wake) wakes.push_back(node.wake);
  }

  void refresh_all(std::vector<Wake>& wakes) {
    for (auto& [id, node] : nodes) {
      assign_policies(node);
      refresh(node, wakes);
    }
  }

  Node* find(const NodeId& id, std::uint64_t session) {
    const auto found = nodes.find(id);
    return found == nodes.end() || found->second.session != session ? nullptr : &found->second;
  }
};

namespace {

void call(const std::vector<Fleet::Wake>& wakes) {
  for (const auto& wake : wakes) wake();
}

}  // namespace

Fleet::Fleet(Clock& clock) : state_(std::make_unique<State>(clock)) {}
Fleet::~Fleet() = default;

std::vector<NodeState> Fleet::nodes() const {
  std::lock_guard lock(state_->mutex);
  std::vector<NodeState> result;
  result.reserve(state_->nodes.size());
  for (const auto& [id, node] : state_->nodes) result.push_back(node.state);
  return result;
}

std::optional<NodeState> Fleet::node(const NodeId& id) const {
  std::lock_guard lock(state_->mutex);
  const auto found = state_->nodes.find(id);
  if (found == state_->nodes.end()) return std::nullopt;
  return found->second.state;
}

std::shared_ptr<const v1::Policy> Fleet::policy(const std::string& name) const {
  std::lock_guard lock(state_->mutex);
  const auto found = state_->policies.find(name);
  return found == state_->policies.end() ? nullptr : found->second;
}

std::vector<std::shared_ptr<const v1::Policy>> Fleet::policies() const {
  std::lock_guard lock(state_->mutex);
  std::vector<std::shared_ptr<const v1::Policy>> result;
  for (const auto& [name, policy] : state_->policies) result.push_back(policy);
  return result;
}

std::shared_ptr<const v1::Policy> Fleet::match(const std::string& service,
                                               const std::map<std::string, std::string>& labels) const {
  std::lock_guard lock(state_->mutex);
  return state_->match(service, labels);
}

std::vector<v1::Override> Fleet::overrides() const {
  std::lock_guard lock(state_->mutex);
  std::vector<v1::Override> result;
  for (const auto& [key, imposed] : state_->overrides)
    if (policy::to_chrono(imposed.expire_time()) > state_->clock.wall()) result.push_back(imposed);
  return result;
}

std::optional<v1::Override> Fleet::find_override(const std::string& kind, const std::string& name,
                                                 const std::string& service) const {
  std::lock_guard lock(state_->mutex);
  const auto found = state_->overrides.find({kind, service, name});
  if (found == state_->overrides.end() || policy::to_chrono(found->second.expire_time()) <= state_->clock.wall())
    return std::nullopt;
  return found->second;
}

std::optional<PoolObserved> Fleet::pool_observed(const std::string& service, const std::string& pool) const {
  std::lock_guard lock(state_->mutex);
  const auto found = state_->pools.find({service, pool});
  if (found == state_->pools.end()) return std::nullopt;
  return found->second;
}

LoopStatus Fleet::loop_status() const {
  std::lock_guard lock(state_->mutex);
  return state_->loop;
}

Effective Fleet::effective(const NodeId& id) const {
  std::lock_guard lock(state_->mutex);
  const auto found = state_->nodes.find(id);
  return found == state_->nodes.end() ? Effective{} : found->second.effective;
}

void Fleet::set_desired(const NodeId& id, Desired desired) {
  std::vector<Wake> wakes;
  {
    std::lock_guard lock(state_->mutex);
    const auto found = state_->nodes.find(id);
    if (found == state_->nodes.end()) return;
    found->second.state.desired = std::move(desired);
    state_->refresh(found->second, wakes);
  }
  call(wakes);
}

void Fleet::set_pool_observed(const std::string& service, const std::string& pool, PoolObserved observed) {
  std::lock_guard lock(state_->mutex);
  state_->pools[{service, pool}] = std::move(observed);
}

void Fleet::set_loop_status(LoopStatus status) {
  std::lock_guard lock(state_->mutex);
  state_->loop = std::move(status);
}

std::vector<Streaming> Fleet::streaming() const {
  std::lock_guard lock(state_->mutex);
  std::vector<Streaming> result;
  result.reserve(state_->nodes.size());
  for (const auto& [id, node] : state_->nodes)
    result.push_back({id, node.state.connected, node.state.policy, node.state.latest});
  return result;
}

std::optional<v1::CauseView> Fleet::cause(const std::string& service, const std::string& upstream) const {
  std::lock_guard lock(state_->mutex);
  const auto found = state_->causes.find({service, upstream});
  if (found == state_->causes.end()) return std::nullopt;
  return found->second;
}

Fleet::Causes Fleet::causes() const {
  std::lock_guard lock(state_->mutex);
  return state_->causes;
}

void Fleet::set_causes(Causes causes) {
  std::lock_guard lock(state_->mutex);
  state_->causes.swap(causes);
}

std::shared_ptr<const Baselines> Fleet::baselines() const {
  std::lock_guard lock(state_->mutex);
  return state_->baselines;
}

void Fleet::set_baselines(Baselines baselines) {
  std::vector<Wake> wakes;
  {
    std::lock_guard lock(state_->mutex);
    state_->baselines = std::make_shared<const Baselines>(std::move(baselines));
    Expectations expected;
    // By service and upstream.
    std::set<std::pair<std::string, std::string>> moved;
    for (const auto& [key, view] : state_->baselines->upstreams) {
      // Agents refuse what no latency can be.
      if (!view.expected || view.expected->value < 1e-6 || view.expected->value > 3600) continue;
      decision::Duration latency = decision::from_seconds(view.expected->value);
      const auto known = state_->expected.find(key);
      const double told = known == state_->expected.end() ? 0 : decision::seconds(known->second);
      if (told > 0 && std::abs(view.expected->value / told - 1) < kExpectationBand) {
        latency = known->second;
      } else {
        moved.insert(key);
      }
      expected[key] = latency;
    }
    for (const auto& [key, latency] : state_->expected)
      if (!expected.contains(key)) moved.insert(key);
    state_->expected = std::move(expected);
    if (moved.empty()) return;
    // Only these are put together again: a node has many.
    for (auto& [id, node] : state_->nodes) {
      if (node.state.policy == nullptr) continue;
      bool changed = false;
      for (const auto& upstream : node.state.policy->spec().upstreams()) {
        if (!moved.contains({id.service, upstream.name()})) continue;
        v1::UpstreamDirective directive = compose(node.told(state_->expected), state_->overrides, upstream.name());
        v1::UpstreamDirective& standing = node.effective.upstreams[upstream.name()];
        if (MessageDifferencer::Equals(standing, directive)) continue;
        standing = std::move(directive);
        changed = true;
      }
      if (!changed) continue;
      node.effective.version = state_->next_version++;
      if (node.state.connected && node.wake) wakes.push_back(node.wake);
    }
  }
  call(wakes);
}

void Fleet::lead(const std::vector<Leading>& changes) {
  std::vector<Wake> wakes;
  {
    std::lock_guard lock(state_->mutex);
    // Changes of one node stand together, as a rule: it gets one version for them, and is waked once.
    Node* changed = nullptr;
    const auto publish = [&] {
      if (changed == nullptr) return;
      changed->effective.version = state_->next_version++;
      if (changed->state.connected && changed->wake) wakes.push_back(changed->wake);
    };
    for (const auto& [change, governed_by] : changes) {
      const auto found = state_->nodes.find(change.id);
      if (found == state_->nodes.end() || found->second.state.policy != governed_by || governed_by == nullptr) continue;
      Node& node = found->second;
      if (change.lead) {
        node.leads[change.upstream] = *change.lead;
      } else {
        node.leads.erase(change.upstream);
      }
      // Only this one is put together again: a node has many, and tests move one of them ten times a second.
      v1::UpstreamDirective directive = compose(node.told(state_->expected), state_->overrides, change.upstream);
      v1::UpstreamDirective& standing = node.effective.upstreams[change.upstream];
      if (MessageDifferencer::Equals(standing, directive)) continue;
      standing = std::move(directive);
      if (changed == &node) continue;
      publish();
      changed = &node;
    }
    publish();
  }
  call(wakes);
}

void Fleet::set_counters_period(const NodeId& id, decision::Duration period) {
  std::vector<Wake> wakes;
  {
    std::lock_guard lock(state_->mutex);
    const auto found = state_->nodes.find(id);
    if (found == state_->nodes.end() || found->second.counters_period == period) return;
    found->second.counters_period = period;
    state_->refresh(found->second, wakes);
  }
  call(wakes);
}

std::vector<v1::Override> Fleet::expire() {
  std::vector<v1::Override> ended;
  std::vector<Wake> wakes;
  {
    std::lock_guard lock(state_->mutex);
    const auto wall = state_->clock.wall();
    std::erase_if(state_->overrides, [&](const auto& entry) {
      if (policy::to_chrono(entry.second.expire_time()) > wall) return false;
      ended.push_back(entry.second);
      return true;
    });
    const auto now = state_->clock.now();
    std::erase_if(state_->nodes, [&](const auto& entry) {
      const NodeState& state = entry.second.state;
      return !state.connected && now >= std::max(state.lease_until, state.connected_since) + kForgetAfter;
    });
    if (!ended.empty()) state_->refresh_all(wakes);
  }
  call(wakes);
  return ended;
}

void Fleet::set_policy(std::shared_ptr<const v1::Policy> policy) {
  std::vector<Wake> wakes;
  {
    std::lock_guard lock(state_->mutex);
    state_->policies[policy->metadata().name()] = policy;
    state_->refresh_all(wakes);
  }
  call(wakes);
}

void Fleet::remove_policy(const std::string& name) {
  std::vector<Wake> wakes;
  {
    std::lock_guard lock(state_->mutex);
    state_->policies.erase(name);
    state_->refresh_all(wakes);
  }
  call(wakes);
}

void Fleet::set_override(const v1::Override& imposed) {
  std::vector<Wake> wakes;
  {
    std::lock_guard lock(state_->mutex);
    state_->overrides[{imposed.kind(), imposed.service(), imposed.name()}] = imposed;
    state_->refresh_all(wakes);
  }
  call(wakes);
}

void Fleet::remove_override(const std::string& kind, const std::string& name, const std::string& service) {
  std::vector<Wake> wakes;
  {
    std::lock_guard lock(state_->mutex);
    if (state_->overrides.erase({kind, service, name}) != 0) state_->refresh_all(wakes);
  }
  call(wakes);
}

std::uint64_t Fleet::connect(const v1::Hello& hello, Wake wake, Wake replaced) {
  Wake previous;
  std::uint64_t session;
  {
    std::lock_guard lock(state_->mutex);
    const NodeId id{hello.service(), hello.node()};
    Node& node = state_->nodes[id];
    if (node.state.connected) previous = std::move(node.replaced);
    session = state_->next_session++;
    node.session = session;
    node.wake = std::move(wake);
    node.replaced = std::move(replaced);
    node.labels = {hello.labels().begin(), hello.labels().end()};
    node.state.id = id;
    node.state.hello = std::make_shared<v1::Hello>(hello);
    node.state.connected = true;
    node.state.connected_since = state_->clock.now();
    node.state.refusal.clear();
    state_->assign_policies(node);
    std::vector<Wake> wakes;
    state_->refresh(node, wakes);
  }
  if (previous) previous();
  return session;
}

bool Fleet::disconnect(const NodeId& id, std::uint64_t session) {
  std::lock_guard lock(state_->mutex);
  Node* node = state_->find(id, session);
  if (node == nullptr || !node->state.connected) return false;
  node->state.connected = false;
  node->state.connected_since = state_->clock.now();
  node->wake = nullptr;
  node->replaced = nullptr;
  return true;
}

void Fleet::record_counters(const NodeId& id, std::uint64_t session, v1::Counters counters) {
  std::lock_guard lock(state_->mutex);
  Node* node = state_->find(id, session);
  if (node == nullptr) return;
  CountersAt next{std::make_shared<v1::Counters>(std::move(counters)), state_->clock.now()};
  for (const auto& transition : next.counters->transitions())
    node->state.last_transition[transition.upstream()] = transition;
  auto& recent = node->recent;
  const bool same_process =
      !recent.empty() &&
      MessageDifferencer::Equals(recent.back().counters->start_time(), next.counters->start_time()) &&
      policy::to_chrono(next.counters->uptime()) >= policy::to_chrono(recent.back().counters->uptime());
  if (!same_process) recent.clear();
  recent.push_back(next);
  // The front is the youngest that is at least the window old.
  while (recent.size() > 2 && next.at - recent[1].at >= kRateWindow) recent.pop_front();
  node->state.latest = next;
  node->state.earlier = recent.size() > 1 ? recent.front() : CountersAt{};
}

void Fleet::record_ack(const NodeId& id, std::uint64_t session, const Effective& acked, decision::Instant lease_until) {
  std::lock_guard lock(state_->mutex);
  Node* node = state_->find(id, session);
  if (node == nullptr) return;
  node->state.refusal.clear();
  node->state.acked_version = acked.version;
  node->state.acked_revision = acked.policy == nullptr ? 0 : acked.policy->metadata().revision();
  node->state.acked_shadow = acked.shadow == nullptr ? "" : acked.shadow->metadata().etag();
  node->state.lease_until = lease_until;
}

void Fleet::record_refusal(const NodeId& id, std::uint64_t session, const std::string& reason) {
  std::lock_guard lock(state_->mutex);
  if (Node* node = state_->find(id, session); node != nullptr) node->state.refusal = reason;
}

}  // namespace penstock::controller
