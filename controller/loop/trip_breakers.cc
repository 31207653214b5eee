#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "controller/loop/decide.h"
#include "controller/loop/evidence.h"

namespace penstock::controller {

namespace {

using decision::Instant;

// How the nodes of one service see one upstream.
struct Views {
  std::vector<const NodeState*> nodes;
  std::vector<const NodeState*> own;
  std::vector<const NodeState*> closed;
  // Open or half open, for whatever reason.
  int not_closed = 0;
  bool shadow = false;
  bool overridden = false;
};

// A state that was imposed is no witness: its reason begins with the word that the breaker gives to force and trip.
bool imposed(const NodeState& node, const std::string& upstream) {
  const auto last = node.last_transition.find(upstream);
  if (last == node.last_transition.end()) return false;
  const std::string& reason = last->second.reason();
  return reason.rfind("fleet", 0) == 0 || reason.rfind("forced", 0) == 0;
}

bool overridden(const FleetSnapshot& fleet, const std::string& service, const std::string& upstream) {
  for (const auto& imposed : fleet.overrides) {
    if (imposed.kind() == "upstream" && imposed.name() == upstream && imposed.service() == service) return true;
  }
  return false;
}

std::string names(const std::vector<const NodeState*>& nodes) {
  return absl::StrJoin(nodes, ", ", [](std::string* out, const NodeState* node) { out->append(node->id.node); });
}

v1::Decision make_decision(const std::pair<std::string, std::string>& key, const Views& views, const char* action,
                           std::string message) {
  v1::Decision decision;
  decision.set_kind("upstream");
  decision.set_service(key.first);
  decision.set_name(key.second);
  decision.set_action(action);
  decision.set_reason("fleet");
  decision.set_message(std::move(message));
  decision.set_shadow(views.shadow);
  decision.set_formula(absl::StrCat("open by own judgement on ", views.own.size(), " of ", views.nodes.size(),
                                    " nodes; tripped on the others from 2 and half of them on"));
  decision.set_would_change("no node having it open any more, or an operator's override");
  if (std::string_view(action) == "trip") decision.set_verdict("unidentified");
  set_number(decision, "nodes", static_cast<double>(views.nodes.size()));
  set_number(decision, "open_by_own_judgement", static_cast<double>(views.own.size()));
  set_number(decision, "not_closed", views.not_closed);
  return decision;
}

}  // namespace

void trip_breakers(const FleetSnapshot& fleet, Instant now, LoopState& state, Plan& plan) {
  std::map<std::pair<std::string, std::string>, Views> all;
  for (const NodeState& node : fleet.nodes) {
    if (node.policy == nullptr || !node.connected || node.latest.counters == nullptr ||
        now - node.latest.at > kCountersFresh) {
      continue;
    }
    const decision::Policy* policy = find_policy(*node.policy, state);
    if (policy == nullptr) continue;
    std::set<std::string> known;
    for (const auto& upstream : policy->upstreams) known.insert(upstream.name);
    for (const auto& counters : node.latest.counters->upstreams()) {
      if (!known.contains(counters.upstream())) continue;
      Views& views = all[{node.id.service, counters.upstream()}];
      views.nodes.push_back(&node);
      views.shadow = views.shadow || policy->shadow;
      if (counters.breaker() == v1::BREAKER_STATE_CLOSED) {
        views.closed.push_back(&node);
        continue;
      }
      ++views.not_closed;
      const bool open = counters.breaker() == v1::BREAKER_STATE_OPEN;
      if (open && !imposed(node, counters.upstream())) views.own.push_back(&node);
    }
  }

  std::erase_if(state.tripped, [&](const auto& entry) { return !all.contains(entry.first); });
  for (auto& [key, views] : all) {
    views.overridden = overridden(fleet, key.first, key.second);
    const auto standing = state.tripped.find(key);
    if (standing != state.tripped.end() && (views.not_closed == 0 || views.overridden)) {
      const char* why = views.overridden ? "an operator's override takes its place" : "no node has it open any more";
      plan.decisions.push_back(make_decision(key, views, "close", absl::StrCat("the fleet's trip ends: ", why)));
      state.tripped.erase(standing);
    } else if (standing == state.tripped.end() && !views.overridden && views.own.size() >= 2 &&
               2 * views.own.size() >= views.nodes.size() && !views.closed.empty()) {
      std::set<std::string>& where = state.tripped[key];
      for (const NodeState* node : views.closed) where.insert(node->id.node);
      plan.decisions.push_back(make_decision(
          key, views, "trip",
          absl::StrCat("open on ", views.own.size(), " of ", views.nodes.size(), " nodes by their own judgement (",
                       names(views.own), "): tripped on ", names(views.closed))));
    }
    const auto tripped = state.tripped.find(key);
    if (tripped == state.tripped.end() || views.shadow) continue;
    for (const NodeState* node : views.nodes) {
      if (!tripped->second.contains(node->id.node)) continue;
      v1::UpstreamDirective directive;
      directive.set_upstream(key.second);
      directive.set_breaker(v1::BREAKER_OVERRIDE_TRIP);
      directive.set_reason("open on most nodes of the fleet");
      plan.desired[node->id].upstreams[key.second] = std::move(directive);
    }
  }
}

}  // namespace penstock::controller
