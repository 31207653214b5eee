#include "controller/service/admin.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "controller/service/page.h"
#include "policy/convert.h"
#include "proto/errors/error.h"

namespace penstock::controller {

Admin::Admin(Store& store, DecisionLog& log, Fleet& fleet, Clock& clock, std::string version)
    : store_(store), log_(log), fleet_(fleet), clock_(clock), version_(std::move(version)), started_(clock.wall()) {}

absl::Status Admin::restore() {
  constexpr int kPage = 1000;
  std::string after;
  for (;;) {
    auto policies = store_.policies(after, kPage);
    if (!policies.ok()) return policies.status();
    for (auto& policy : *policies) {
      after = policy.metadata().name();
      fleet_.set_policy(std::make_shared<v1::Policy>(std::move(policy)));
    }
    if (policies->size() < kPage) break;
  }
  auto overrides = store_.overrides();
  if (!overrides.ok()) return overrides.status();
  for (const auto& imposed : *overrides) fleet_.set_override(imposed);
  return absl::OkStatus();
}

v1::ControllerStatus Admin::status() const {
  v1::ControllerStatus status;
  status.set_version(version_);
  status.set_epoch(store_.epoch());
  *status.mutable_start_time() = policy::to_proto(started_);
  int connected = 0;
  for (const auto& node : fleet_.nodes()) connected += node.connected ? 1 : 0;
  status.set_nodes(connected);
  status.set_policies(static_cast<int>(fleet_.policies().size()));
  const LoopStatus loop = fleet_.loop_status();
  for (const auto& signal : loop.signals) *status.add_signals() = signal;
  if (loop.last_loop != std::chrono::system_clock::time_point{}) {
    *status.mutable_last_loop() = policy::to_proto(loop.last_loop);
    *status.mutable_loop_duration() = policy::to_proto(loop.duration);
  }
  return status;
}

v1::Policy Admin::with_status(v1::Policy policy) const {
  const std::string& name = policy.metadata().name();
  v1::PolicyStatus& status = *policy.mutable_status();
  const auto acted_on = fleet_.policy(name);
  if (acted_on != nullptr) status.set_observed_revision(acted_on->metadata().revision());
  std::string refusal;
  for (const auto& node : fleet_.nodes()) {
    if (!node.connected || acted_on == nullptr) continue;
    // Or it watches, beside the one that governs.
    const bool governs = node.policy == acted_on;
    if (!governs && std::ranges::find(node.shadows, acted_on) == node.shadows.end()) continue;
    status.set_nodes(status.nodes() + 1);
    if (governs ? node.acked_revision == status.observed_revision() : node.acked_shadow == acted_on->metadata().etag())
      status.set_nodes_applied(status.nodes_applied() + 1);
    if (!node.refusal.empty()) refusal = absl::StrCat(node.id.node, ": ", node.refusal);
  }
  const auto add = [&](const std::string& type, bool met, const std::string& reason, const std::string& message) {
    std::lock_guard lock(conditions_mutex_);
    v1::Condition& condition = conditions_[{name, type}];
    if (condition.type().empty() || condition.met() != met)
      *condition.mutable_last_transition_time() = policy::to_proto(clock_.wall());
    condition.set_type(type);
    condition.set_met(met);
    condition.set_reason(reason);
    condition.set_message(message);
    *status.add_conditions() = condition;
  };
  const bool shadow = acted_on != nullptr && acted_on->spec().mode() == v1::POLICY_MODE_SHADOW;
  const std::string counts =
      absl::StrCat(status.nodes_applied(), " of ", status.nodes(), " nodes ", shadow ? "decide by" : "act on",
                   " revision ", status.observed_revision(), shadow ? " and carry nothing out" : "");
  if (!refusal.empty()) {
    add("Applied", false, "Refused", refusal);
  } else if (status.nodes() == 0) {
    add("Applied", false, "NoNodes", "no connected node is governed by it");
  } else if (status.nodes_applied() < status.nodes()) {
    add("Applied", false, "Waiting", counts);
  } else {
    add("Applied", true, "AllNodes", counts);
  }
  std::string stale;
  const LoopStatus loop = fleet_.loop_status();
  for (const auto& signal : loop.signals)
    if (signal.state() != v1::Signal::STATE_VALUE) absl::StrAppend(&stale, stale.empty() ? "" : ", ", signal.name());
  if (loop.signals.empty()) {
    add("SignalsFresh", false, "NotYet", "nothing has been observed yet");
  } else if (stale.empty()) {
    add("SignalsFresh", true, "Fresh", "every signal has a value");
  } else {
    add("SignalsFresh", false, "Missing", absl::StrCat("without a value: ", stale));
  }
  return policy;
}

absl::StatusOr<std::string> Admin::resolve(const std::string& kind, const std::string& name,
                                           const std::string& service) const {
  if (name.empty()) return errors::to_absl(errors::argument_invalid(kind, "is required"));
  std::vector<std::string> found;
  const auto add = [&](const std::string& candidate) {
    if ((service.empty() || service == candidate) && std::find(found.begin(), found.end(), candidate) == found.end())
      found.push_back(candidate);
  };
  if (kind == "node") {
    for (const auto& node : fleet_.nodes())
      if (node.id.node == name) add(node.id.service);
  } else {
    for (const auto& policy : fleet_.policies()) {
      const auto& spec = policy->spec();
      if (kind == "pool") {
        if (name == "default") add(spec.service());
        for (const auto& pool : spec.pools())
          if (pool.name() == name) add(spec.service());
      } else {
        for (const auto& upstream : spec.upstreams())
          if (upstream.name() == name) add(spec.service());
      }
    }
  }
  if (found.size() == 1) return found.front();
  if (found.empty()) {
    const auto reason = kind == "node"   ? errors::Reason::node_not_found
                        : kind == "pool" ? errors::Reason::pool_not_found
                                         : errors::Reason::upstream_not_found;
    return errors::to_absl(
        {.reason = reason,
         .message = absl::StrCat("no ", kind, " ", name, service.empty() ? "" : " of service ", service),
         .metadata = {{kind, name}, {"service", service}}});
  }
  std::string services;
  for (const auto& candidate : found) absl::StrAppend(&services, services.empty() ? "" : ", ", candidate);
  return errors::to_absl({.reason = errors::Reason::ambiguous_name,
                          .message = absl::StrCat("several services have a ", kind, " ", name, ": ", services),
                          .metadata = {{kind, name}, {"services", services}}});
}

absl::StatusOr<v1::ListDecisionsResponse> Admin::list_decisions(const v1::ListDecisionsRequest& request) const {
  DecisionFilter filter{.kind = request.kind(), .name = request.name(), .service = request.service()};
  std::string list = absl::StrCat("decisions/", request.kind(), "/", request.name(), "/", request.service());
  if (request.has_since()) {
    filter.since = policy::to_chrono(request.since());
    absl::StrAppend(&list, "/", request.since().seconds(), ".", request.since().nanos());
  }
  if (request.has_until()) {
    filter.until = policy::to_chrono(request.until());
    absl::StrAppend(&list, "/-", request.until().seconds(), ".", request.until().nanos());
  }
  auto page = Page::read(list, request.page_size(), request.page_token());
  if (!page.ok()) return page.status();
  const std::int64_t before = page->cursor().empty() ? 0 : std::strtoll(page->cursor().c_str(), nullptr, 10);
  auto decisions = log_.list(filter, page->size() + 1, before);
  if (!decisions.ok()) return decisions.status();
  v1::ListDecisionsResponse response;
  for (auto& decision : *decisions) {
    if (response.decisions_size() == page->size()) {
      response.set_next_page_token(page->next(absl::StrCat(response.decisions(page->size() - 1).id())));
      break;
    }
    *response.add_decisions() = std::move(decision);
  }
  return response;
}

}  // namespace penstock::controller
