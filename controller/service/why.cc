#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "controller/service/admin.h"
#include "controller/service/rates.h"
#include "controller/service/why_cause.h"
#include "policy/convert.h"
#include "proto/errors/error.h"

namespace penstock::controller {
namespace {

constexpr int kDecisionsShown = 20;
// For the last one that was carried out.
constexpr int kDecisionsSearched = 200;

std::string seconds(decision::Duration duration) { return absl::StrFormat("%.3gs", decision::seconds(duration)); }

std::string state_word(v1::BreakerState state) {
  switch (state) {
    case v1::BREAKER_STATE_OPEN:
      return "open";
    case v1::BREAKER_STATE_HALF_OPEN:
      return "half open";
    default:
      return "closed";
  }
}

std::string breaker_word(v1::BreakerOverride breaker) {
  switch (breaker) {
    case v1::BREAKER_OVERRIDE_FORCE_OPEN:
      return "held open";
    case v1::BREAKER_OVERRIDE_FORCE_CLOSED:
      return "held closed";
    default:
      return "decided by the node";
  }
}

const BaselineView* find(const BaselineViews& views, const std::string& service, const std::string& name) {
  const auto found = views.find({service, name});
  return found == views.end() ? nullptr : &found->second;
}

bool names(const v1::PolicySpec& spec, const std::string& kind, const std::string& name) {
  const auto named = [&](const auto& of) { return of.name() == name; };
  if (kind == "pool") return name == "default" || std::ranges::any_of(spec.pools(), named);
  return kind != "upstream" || std::ranges::any_of(spec.upstreams(), named);
}

// The steps that a decision recorded: evidence.steps, else its message.
void add_steps(const v1::Decision& decision, v1::WhyResponse& response) {
  const auto found = decision.evidence().fields().find("steps");
  if (found != decision.evidence().fields().end()) {
    for (const auto& step : found->second.list_value().values()) response.add_steps(step.string_value());
    if (!found->second.string_value().empty())
      for (const auto& step : absl::StrSplit(found->second.string_value(), '\n')) response.add_steps(std::string(step));
  }
  if (response.steps().empty()) response.add_steps(decision.message());
}

std::string override_sentence(const v1::Override& imposed, std::chrono::system_clock::time_point now) {
  return absl::StrCat("an override by ", imposed.author(), " (", imposed.value(), ", \"", imposed.reason(),
                      "\") holds for another ", seconds(policy::to_chrono(imposed.expire_time()) - now));
}

}  // namespace

absl::StatusOr<v1::WhyResponse> Admin::why(const v1::WhyRequest& request) const {
  const std::string& kind = request.kind();
  if (kind != "pool" && kind != "upstream" && kind != "node")
    return errors::to_absl(errors::argument_invalid("kind", "must be pool, upstream or node"));
  const bool past = request.has_at();
  DecisionFilter filter{.kind = kind, .name = request.name(), .service = request.service()};
  if (past) filter.until = policy::to_chrono(request.at());

  std::string service = request.service();
  if (auto resolved = resolve(kind, request.name(), request.service()); resolved.ok()) {
    service = *resolved;
  } else if (!past || !absl::IsNotFound(resolved.status())) {
    // What is gone can still be asked for in the past.
    return resolved.status();
  }
  filter.service = service;
  auto decisions = log_.list(filter, kDecisionsShown, 0);
  if (!decisions.ok()) return decisions.status();

  v1::WhyResponse response;
  for (const auto& decision : *decisions) *response.add_decisions() = decision;
  // What a policy in SHADOW beside an active one would have done explains nothing that is, but for what only it names.
  std::set<std::string> active;
  for (const auto& policy : fleet_.policies())
    if (policy->spec().service() == service && policy->spec().mode() != v1::POLICY_MODE_SHADOW &&
        names(policy->spec(), kind, request.name()))
      active.insert(policy->metadata().name());
  const auto beside = [&](const v1::Decision& decision) {
    return decision.shadow() && !active.empty() && !active.contains(decision.policy());
  };
  const auto latest = [&](auto wanted) -> const v1::Decision* {
    for (const auto& decision : response.decisions())
      if (!beside(decision) && wanted(decision)) return &decision;
    return nullptr;
  };
  const auto now = clock_.now();
  const auto wall = past ? policy::to_chrono(request.at()) : clock_.wall();
  const auto imposed = past ? std::nullopt : fleet_.find_override(kind, request.name(), service);

  if (kind == "pool") {
    const v1::Decision* resize = latest([](const auto& d) { return d.action() == "resize" || d.action() == "hold"; });
    if (resize == nullptr) {
      filter.action = "resize";
      auto older = log_.list(filter, kDecisionsSearched, 0);
      if (!older.ok()) return older.status();
      if (const auto found = std::ranges::find_if_not(*older, beside); found != older->end()) {
        *response.add_decisions() = *found;
        resize = &response.decisions(response.decisions_size() - 1);
      }
    }
    if (resize != nullptr) {
      add_steps(*resize, response);
      *response.mutable_evidence() = resize->evidence();
    }
    std::string in_force;
    if (past) {
      in_force = resize != nullptr ? resize->message() : "nothing had been decided about it by then";
    } else {
      const auto views = pool_views(service);
      const auto found = views.find({service, request.name()});
      const v1::PoolView view = found == views.end() ? v1::PoolView{} : found->second;
      in_force = absl::StrCat("limit ", view.limit(), " over ", view.nodes(), " nodes, ", view.in_flight(),
                              " in flight, ", view.queue_length(), " waiting");
      if (view.has_rate())
        absl::StrAppend(&in_force, "; ", absl::StrFormat("%.1f", view.rate()), "/s at ",
                        seconds(policy::to_chrono(view.latency())));
      for (const auto& node : fleet_.nodes()) {
        if (node.id.service != service || !speaks(node, now)) continue;
        for (const auto& pool : node.latest.counters->pools())
          if (pool.pool() == request.name())
            response.add_steps(absl::StrCat("in force on ", node.id.node, ": limit ", pool.limit(), ", in flight ",
                                            pool.in_flight(), ", waiting ", pool.queue_length()));
      }
      const auto history = fleet_.baselines();
      response.add_steps(describe_pool_baseline(find(history->pools, service, request.name()), *history));
      if (resize != nullptr && !resize->would_change().empty()) response.add_would_change(resize->would_change());
      response.add_would_change("the rate or the latency that Prometheus reports for the pool");
      response.add_would_change("min, max, memory, headroom or reaction of the policy");
    }
    response.set_summary(absl::StrCat("pool ", request.name(), " of ", service, ": ", in_force));
  } else if (kind == "upstream") {
    const v1::Decision* last = latest(
        [](const auto& d) { return d.action() == "trip" || d.action() == "half_open" || d.action() == "close"; });
    const v1::Decision* test = latest([](const auto& d) { return d.action() == "test"; });
    if (const v1::Decision* newest = latest([](const auto& d) { return d.action() != "override"; }))
      *response.mutable_evidence() = newest->evidence();
    std::string in_force;
    if (past) {
      // The last transition of each node up to then.
      std::map<std::string, std::string> nodes;
      for (const auto& decision : response.decisions())
        if (!decision.node().empty() && !beside(decision))
          nodes.try_emplace(decision.node(), absl::StrCat(decision.action(), ": ", decision.message()));
      for (const auto& [node, what] : nodes) response.add_steps(absl::StrCat(node, ": ", what));
      if (test != nullptr) explain_test(*test, response);
      in_force =
          last != nullptr ? absl::StrCat(last->action(), " (", last->reason(), ")") : "no breaker had moved by then";
    } else {
      const auto views = upstream_views(service);
      const auto found = views.find({service, request.name()});
      const v1::UpstreamView view = found == views.end() ? v1::UpstreamView{} : found->second;
      std::string whose;
      if (view.has_cause() && view.cause().leads()) {
        whose = explain_cause(view.cause(), response);
      } else if (test != nullptr) {
        explain_test(*test, response);
      }
      in_force = absl::StrCat(
          whose, whose.empty() ? "" : "; ", "breaker open on ", view.nodes_open(), ", half open on ",
          view.nodes_half_open(), ", closed on ", view.nodes_closed(), " nodes; ",
          absl::StrFormat("%.1f attempts/s, %.1f ok/s, %.1f failed/s, %.1f rejected/s", view.attempts_per_second(),
                          view.ok_per_second(), view.failed_per_second(), view.rejected_per_second()));
      if (view.has_usefulness())
        absl::StrAppend(&in_force,
                        absl::StrFormat("; a call succeeds in time with probability %.2f", view.usefulness()));
      const auto history = fleet_.baselines();
      response.add_steps(describe_upstream_baseline(find(history->upstreams, service, request.name()), *history,
                                                    policy::to_chrono(view.latency())));
      for (const auto& node : fleet_.nodes()) {
        if (node.id.service != service || !speaks(node, now)) continue;
        for (const auto& upstream : node.latest.counters->upstreams()) {
          if (upstream.upstream() != request.name()) continue;
          std::string step =
              absl::StrCat(node.id.node, ": ", state_word(upstream.breaker()), ", in flight ", upstream.in_flight(),
                           " of ", upstream.limit(), ", waiting ", upstream.waiting(), ", oldest ",
                           seconds(policy::to_chrono(upstream.oldest())));
          if (upstream.has_usefulness())
            absl::StrAppend(&step, absl::StrFormat(", usefulness %.2f", upstream.usefulness()));
          if (upstream.has_usual_latency())
            absl::StrAppend(&step, ", latency ", seconds(policy::to_chrono(upstream.current_latency())), ", usually ",
                            seconds(policy::to_chrono(upstream.usual_latency())));
          absl::StrAppend(&step, describe_test(upstream));
          if (const auto rates = upstream_rates(node, request.name()))
            absl::StrAppend(&step, absl::StrFormat(", %.1f attempts/s, %.1f ok/s, %.1f failed/s", rates->attempts,
                                                   rates->ok, rates->failed));
          response.add_steps(step);
          if (const auto transition = node.last_transition.find(request.name());
              transition != node.last_transition.end())
            response.add_steps(absl::StrCat("  last transition: ", state_word(transition->second.from()), " -> ",
                                            state_word(transition->second.to()), ", ", transition->second.reason()));
        }
      }
      if (view.nodes_open() + view.nodes_half_open() > 0) {
        response.add_would_change("probes that succeed within their deadline close it");
      } else {
        response.add_would_change("calls that can no longer succeed before their deadline open it");
        response.add_would_change("the policy's error ratio or slow-call ratio, if set, being exceeded");
      }
    }
    response.set_summary(absl::StrCat("upstream ", request.name(), " of ", service, ": ", in_force));
  } else {
    std::string in_force =
        response.decisions().empty() ? "nothing is logged about it by then" : response.decisions(0).message();
    if (!past) {
      if (const auto node = fleet_.node({service, request.name()})) {
        const bool leased = node->acked_version != 0 && node->lease_until > now;
        in_force =
            absl::StrCat(node->connected ? "connected" : "gone", ", ", leased ? "holds a lease" : "without a lease",
                         ", acts on revision ", node->acked_revision, " of policy ",
                         node->policy == nullptr ? "(none)" : node->policy->metadata().name());
        if (!node->refusal.empty()) response.add_steps("refused: " + node->refusal);
        const Effective wanted = fleet_.effective(node->id);
        for (const auto& [name, pool] : wanted.pools)
          response.add_steps(absl::StrCat("pool ", name, ": limit ", pool.limit(), " (", pool.reason(), ")"));
        for (const auto& [name, upstream] : wanted.upstreams)
          response.add_steps(absl::StrCat("upstream ", name, ": ", breaker_word(upstream.breaker()),
                                          upstream.reason().empty() ? "" : " (" + upstream.reason() + ")"));
        response.add_would_change("a new revision of its policy, a decision of the loop, an override");
      }
    }
    response.set_summary(absl::StrCat("node ", request.name(), " of ", service, ": ", in_force));
  }
  if (imposed) {
    response.set_summary(absl::StrCat(response.summary(), "; ", override_sentence(*imposed, wall)));
    response.add_would_change("the override ending, or an operator taking it back");
  }
  return response;
}

}  // namespace penstock::controller
