#include "controller/loop/cause_tests.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "controller/loop/cause_decision.h"
#include "controller/loop/read_counters.h"
#include "penstock/decision/fleet_test.h"
#include "policy/convert.h"

namespace penstock::controller {

using decision::Duration;
using decision::FleetTest;
using decision::Instant;

namespace {

struct Node;
struct ThirdParty;

// One upstream of one node.
struct Member {
  Node* node = nullptr;
  std::string upstream;
  ThirdParty* of = nullptr;
  decision::LimitPolicy limit;
  FleetTest::Node state{};
  // Counts of it that began anew within one process.
  std::uint64_t restarts = 0;
  // The node tells what a test needs.
  bool tells = false;
  bool in_trouble = false;
  // By its own test.
  bool holds = false;
  // As the node was told last.
  std::optional<Lead> led;
};

struct Node {
  NodeId id;
  std::uint64_t number = 0;
  std::shared_ptr<const v1::Policy> policy;
  Instant counted{};
  std::int64_t process = 0;
  std::vector<std::unique_ptr<Member>> members;
  bool counts = false;
  bool seen = false;
  Instant attentive_until{};
  Duration period{};

  // `next`: where to look first. Counters name upstreams in the order of the policy, as a rule.
  Member* find(std::string_view upstream, std::size_t& next) const {
    for (std::size_t i = 0; i < members.size(); ++i) {
      const std::size_t at = (next + i) % members.size();
      if (members[at]->upstream != upstream) continue;
      next = at + 1;
      return members[at].get();
    }
    return nullptr;
  }
};

struct ThirdParty {
  std::string key;
  bool shadow = false;
  decision::KneeTest knee_test = decision::KneeTest::act;
  std::vector<Member*> members;
  // These follow from the members; `changed`: no longer.
  bool changed = false;
  decision::LimitPolicy limit;
  std::set<std::pair<std::string, std::string>> names;  // service, upstream
  std::vector<std::string> services;

  std::size_t phase = 0;
  std::optional<Instant> since;
  bool leads = false;
  bool trouble = false;
  std::string reason;
  FleetTest test;

  bool acts() const { return !shadow && knee_test == decision::KneeTest::act; }
  void gather_members();
  // By the weight of each service's calls.
  Duration expected(const BaselineViews& history) const;
  // Asked at each turn for which it is due.
  bool attended() const {
    return trouble || test.wants_test() || test.cause_test().holds().state != decision::CauseState::free ||
           test.signals().in_trouble();
  }
};

void ThirdParty::gather_members() {
  if (!std::exchange(changed, false) || members.empty()) return;
  names.clear();
  services.clear();
  limit = members.front()->limit;
  for (const Member* member : members) {
    names.emplace(member->node->id.service, member->upstream);
    limit.min = std::max(limit.min, member->limit.min);
    limit.max = std::max(limit.max, member->limit.max);
  }
  for (const auto& [service, name] : names)
    if (services.empty() || services.back() != service) services.push_back(service);
}

Duration ThirdParty::expected(const BaselineViews& history) const {
  double rate = 0;
  double busy = 0;
  for (const auto& name : names) {
    const auto view = history.find(name);
    if (view == history.end() || !view->second.expected) continue;
    rate += view->second.rate;
    busy += view->second.rate * view->second.expected->value;
  }
  return decision::from_seconds(rate > 0 ? busy / rate : 0);
}

std::string key_of(const std::string& service, const decision::UpstreamPolicy& upstream, bool shadow) {
  std::vector<std::string> hosts = upstream.hosts;
  std::ranges::sort(hosts);
  const char* wants = upstream.limit.knee_test == decision::KneeTest::act ? "act" : "observe";
  return absl::StrCat(hosts.empty() ? absl::StrCat(service, "/", upstream.name) : absl::StrJoin(hosts, ","), " ",
                      shadow ? "shadow" : wants);
}

}  // namespace

struct CauseTests::State {
  std::map<NodeId, std::unique_ptr<Node>> nodes;
  std::map<std::string, std::unique_ptr<ThirdParty>> third_parties;
  decision::FleetCalendar calendar;
  std::uint64_t next_number = 1;
  std::uint64_t turns = 0;
  std::size_t phases = 0;
  // Policies as they were converted last; held, so that an address means one policy.
  std::map<std::shared_ptr<const v1::Policy>, decision::Policy> policies;
  std::vector<FleetTest::Node> scratch;

  const decision::Policy* find_policy(const std::shared_ptr<const v1::Policy>& policy);
  void settle(Node& node, const std::shared_ptr<const v1::Policy>& policy, Plan& plan);
  void leave(Node& node, Plan& plan);
  void read(Node& node, const v1::Counters& counters);
  void tick(ThirdParty& of, Instant now, Duration wall, const BaselineViews& history, Plan& plan);
  void share(ThirdParty& of, Plan& plan);
  void ask_for_counters(Instant now, Plan& plan);
};

const decision::Policy* CauseTests::State::find_policy(const std::shared_ptr<const v1::Policy>& policy) {
  auto found = policies.find(policy);
  if (found == policies.end()) {
    auto converted = policy::to_decision(*policy);
    // Nothing to test.
    if (!converted.ok()) converted = decision::Policy{};
    found = policies.emplace(policy, *std::move(converted)).first;
  }
  return &found->second;
}

void CauseTests::State::leave(Node& node, Plan& plan) {
  for (const auto& member : node.members) {
    std::erase(member->of->members, member.get());
    member->of->changed = true;
    if (member->led) plan.leads.push_back({{node.id, member->upstream, std::nullopt}, node.policy});
  }
  node.members.clear();
}

// The node's upstreams find their third parties.
void CauseTests::State::settle(Node& node, const std::shared_ptr<const v1::Policy>& policy, Plan& plan) {
  leave(node, plan);
  node.policy = policy;
  node.counted = {};
  if (policy == nullptr) return;
  const decision::Policy& read = *find_policy(policy);
  for (const decision::UpstreamPolicy& upstream : read.upstreams) {
    decision::LimitPolicy limit = upstream.limit;
    if (limit.mode != decision::LimitMode::adaptive)
      limit.knee_test = std::min(limit.knee_test, decision::KneeTest::observe);
    if (limit.knee_test == decision::KneeTest::off) continue;
    auto& of = third_parties[key_of(node.id.service, upstream, read.shadow)];
    if (of == nullptr) {
      of = std::make_unique<ThirdParty>();
      of->key = key_of(node.id.service, upstream, read.shadow);
      of->phase = phases++;
      of->shadow = read.shadow;
      of->knee_test = limit.knee_test;
    }
    of->changed = true;
    auto member = std::make_unique<Member>();
    member->node = &node;
    member->upstream = upstream.name;
    member->of = of.get();
    member->limit = limit;
    member->state.id = node.number;
    of->members.push_back(member.get());
    node.members.push_back(std::move(member));
  }
}

void CauseTests::State::read(Node& node, const v1::Counters& counters) {
  const std::int64_t process = policy::to_chrono(counters.start_time()).time_since_epoch().count();
  const bool another = process != node.process;
  node.process = process;
  const double pressure = std::clamp(counters.memory_pressure(), 0.0, 1.0);
  const Duration run_delay = policy::to_chrono(counters.run_delay());
  const bool sound = can_be(counters);
  std::size_t next = 0;
  for (const auto& upstream : counters.upstreams()) {
    Member* member = node.find(upstream.upstream(), next);
    if (member == nullptr) continue;
    // What counts nonsense is not believed in anything.
    member->tells = sound && upstream.has_patience() && can_be(upstream);
    if (!member->tells) continue;
    FleetTest::Node& state = member->state;
    if (another) state.counts = {};
    if (!read_counts(upstream, state.counts)) ++member->restarts;
    // The same for as long as it counts on, also when the policy, and with it the member, is another one.
    state.life = static_cast<std::uint64_t>(process) + member->restarts;
    state.patience = policy::to_chrono(upstream.patience());
    state.breaker = to_state(upstream.breaker());
    state.dead = upstream.cause_verdict() == "dead";
    state.refusing = upstream.refusing();
    state.memory_pressure = pressure;
    state.run_delay = run_delay;
    member->in_trouble = upstream.in_trouble();
    const std::string& own = upstream.cause_state();
    member->holds = own == "freeze" || own == "cut" || own == "search" || own == "track";
  }
}

void CauseTests::State::tick(ThirdParty& of, Instant now, Duration wall, const BaselineViews& history, Plan& plan) {
  of.gather_members();
  scratch.clear();
  of.trouble = false;
  bool held = false;
  for (const Member* member : of.members) {
    if (!member->node->counts || !member->tells) continue;
    scratch.push_back(member->state);
    of.trouble |= member->in_trouble;
    held |= member->holds && !member->led;
  }
  if (scratch.empty()) {
    of.since.reset();
    of.leads = false;
    of.test = {};
    return share(of, plan);
  }
  if (!of.since) of.since = now;
  if (now - *of.since < kGather) return;
  if (of.acts() && !held && scratch.size() >= 2) of.leads = true;
  decision::LimitPolicy limit = of.limit;
  // What nobody obeys would be read as an experiment.
  if (!of.leads) limit.knee_test = decision::KneeTest::observe;
  of.test.tick({.now = now,
                .wall = wall,
                .may_test = calendar.may_test(of.key),
                .limit = limit,
                .expected = of.expected(history)},
               scratch);
  if (of.test.wants_test() || of.test.testing()) calendar.ask(of.key, of.services, of.test.testing(), wall);
  while (const auto decision = of.test.take_decision()) {
    of.reason = decision->sentence;
    // Of what a node alone tests, the node tells.
    if (of.acts() && !of.leads) continue;
    for (const auto& [service, upstream] : of.names)
      plan.decisions.push_back(
          to_decision(*decision, service, upstream, of.services, static_cast<int>(scratch.size()), !of.leads));
  }
  share(of, plan);
}

// What each node is told; told anew only when it matters.
void CauseTests::State::share(ThirdParty& of, Plan& plan) {
  for (Member* member : of.members) {
    std::optional<Lead> lead;
    if (of.leads && member->node->counts && member->tells) {
      lead = Lead{.limit = of.test.limit_of(member->node->number), .tight = of.test.tight(), .reason = {}};
      if (lead->limit) lead->reason = of.reason;
      if (member->led && member->led->tight == lead->tight && member->led->limit && lead->limit) {
        const int moved = std::abs(*member->led->limit - *lead->limit);
        if (moved <= std::max(1.0, kShareBand * *member->led->limit) && member->led->reason == lead->reason) continue;
      }
    }
    if (lead == member->led) continue;
    member->led = lead;
    plan.leads.push_back({{member->node->id, member->upstream, std::move(lead)}, member->node->policy});
  }
}

void CauseTests::State::ask_for_counters(Instant now, Plan& plan) {
  double upstreams = 0;
  for (const auto& [id, node] : nodes) upstreams += static_cast<double>(node->members.size());
  const Duration quickest = std::clamp<Duration>(decision::from_seconds(upstreams / kCountsPerSecond), kTick, kCalm);
  for (const auto& [id, node] : nodes) {
    for (const auto& member : node->members) {
      if (!member->led || !member->of->attended()) continue;
      node->attentive_until = now + kAttentive;
      break;
    }
    // A fleet that is too large for haste says so also to nodes that would hurry by themselves.
    const Duration calm = quickest > kTick ? Duration(kCalm) : Duration::zero();
    const Duration wanted = node->counts && now < node->attentive_until ? quickest : calm;
    if (wanted == node->period) continue;
    node->period = wanted;
    plan.periods.emplace_back(id, wanted);
  }
}

CauseTests::CauseTests() : state_(std::make_unique<State>()) {}
CauseTests::~CauseTests() = default;

CauseTests::Plan CauseTests::turn(const std::vector<Streaming>& streaming, Instant now, Duration wall,
                                  const BaselineViews& history) {
  Plan plan;
  State& state = *state_;
  for (auto& [id, node] : state.nodes) node->seen = false;
  for (const Streaming& from : streaming) {
    auto& node = state.nodes[from.id];
    if (node == nullptr) {
      node = std::make_unique<Node>();
      node->id = from.id;
      node->number = state.next_number++;
    }
    node->seen = true;
    if (node->policy != from.policy) state.settle(*node, from.policy, plan);
    node->counts = from.connected && from.latest.counters != nullptr && now - from.latest.at <= kFresh;
    if (node->counts && from.latest.at != node->counted) {
      node->counted = from.latest.at;
      state.read(*node, *from.latest.counters);
    }
  }
  std::erase_if(state.nodes, [&](const auto& entry) {
    if (entry.second->seen) return false;
    state.leave(*entry.second, plan);
    return true;
  });
  std::erase_if(state.policies, [&](const auto& entry) {
    return std::ranges::none_of(state.nodes, [&](const auto& node) { return node.second->policy == entry.first; });
  });
  std::erase_if(state.third_parties, [](const auto& entry) { return entry.second->members.empty(); });

  constexpr std::size_t kTurnsOfCalm = kCalm / kTick;
  for (const auto& [key, of] : state.third_parties) {
    if (of->attended() || (of->phase + state.turns) % kTurnsOfCalm == 0) state.tick(*of, now, wall, history, plan);
  }
  ++state.turns;
  state.calendar.resolve();
  state.ask_for_counters(now, plan);
  return plan;
}

std::map<std::pair<std::string, std::string>, v1::CauseView> CauseTests::views() const {
  std::map<std::pair<std::string, std::string>, v1::CauseView> views;
  for (const auto& [key, of] : state_->third_parties) {
    if (!of->since) continue;
    v1::CauseView view = to_view(of->test);
    int nodes = 0;
    for (const Member* member : of->members) nodes += member->node->counts && member->tells;
    view.set_nodes(nodes);
    view.set_leads(of->leads);
    for (const std::string& service : of->services) view.add_services(service);
    for (const auto& name : of->names) views[name] = view;
  }
  return views;
}

}  // namespace penstock::controller
