#include <algorithm>
#include <optional>

#include "absl/strings/str_cat.h"
#include "controller/service/admin.h"
#include "controller/service/page.h"
#include "controller/service/rates.h"
#include "policy/convert.h"

namespace penstock::controller {
namespace {

using Key = std::pair<std::string, std::string>;  // service, name

std::string cursor_of(const Key& key) { return key.first + "/" + key.second; }

// The entries of a sorted map behind the page's cursor; sets the token of the next page.
template <class View, class Add>
std::string paginate(const std::map<Key, View>& views, const Page& page, Add add) {
  int taken = 0;
  std::string last;
  for (const auto& [key, view] : views) {
    const std::string cursor = cursor_of(key);
    if (!page.cursor().empty()) {
      const std::size_t split = page.cursor().find('/');
      if (key <= Key{page.cursor().substr(0, split), page.cursor().substr(split + 1)}) continue;
    }
    if (taken == page.size()) return page.next(last);
    add(view);
    last = cursor;
    ++taken;
  }
  return "";
}

v1::BaselineView to_proto(const BaselineView& from) {
  v1::BaselineView view;
  if (from.expected) {
    view.set_expected(from.expected->value);
    view.set_samples(from.expected->samples);
  }
  view.set_hours(from.hours);
  *view.mutable_since() = policy::to_proto(from.since);
  if (from.drift) {
    view.set_drift(from.drift->ratio);
    *view.mutable_drift_over() = policy::to_proto(from.drift->over);
  }
  if (from.departure) view.set_departure(from.departure->ratio);
  return view;
}

}  // namespace

absl::StatusOr<v1::ListNodesResponse> Admin::list_nodes(const v1::ListNodesRequest& request) const {
  auto page = Page::read("nodes/" + request.service(), request.page_size(), request.page_token());
  if (!page.ok()) return page.status();
  const auto now = clock_.now();
  std::map<Key, v1::Node> views;
  for (const auto& state : fleet_.nodes()) {
    if (!request.service().empty() && request.service() != state.id.service) continue;
    v1::Node& node = views[{state.id.service, state.id.node}];
    node.set_name(state.id.node);
    node.set_service(state.id.service);
    node.set_version(state.hello->version());
    *node.mutable_labels() = state.hello->labels();
    node.set_metrics_address(state.hello->metrics_address());
    node.set_connected(state.connected);
    const auto lease = state.acked_version == 0 ? decision::Duration{} : state.lease_until - now;
    *node.mutable_lease() = policy::to_proto(std::max(lease, decision::Duration{}));
    if (state.policy != nullptr) node.set_policy(state.policy->metadata().name());
    node.set_policy_revision(state.acked_revision);
    node.set_refusal(state.refusal);
    if (state.latest.counters != nullptr) {
      *node.mutable_counters_age() = policy::to_proto(now - state.latest.at);
      *node.mutable_counters() = *state.latest.counters;
    }
  }
  v1::ListNodesResponse response;
  response.set_next_page_token(paginate(views, *page, [&](const v1::Node& node) { *response.add_nodes() = node; }));
  return response;
}

std::map<Key, v1::PoolView> Admin::pool_views(const std::string& service) const {
  std::map<Key, v1::PoolView> views;
  const auto at = [&](const std::string& of, const std::string& name) -> v1::PoolView& {
    v1::PoolView& view = views[{of, name}];
    view.set_service(of);
    view.set_name(name);
    return view;
  };
  for (const auto& policy : fleet_.policies()) {
    const auto& spec = policy->spec();
    if (!service.empty() && service != spec.service()) continue;
    at(spec.service(), "default").set_policy(policy->metadata().name());
    for (const auto& pool : spec.pools()) at(spec.service(), pool.name()).set_policy(policy->metadata().name());
  }
  const auto now = clock_.now();
  for (const auto& node : fleet_.nodes()) {
    if (!service.empty() && service != node.id.service) continue;
    if (!speaks(node, now)) continue;
    for (const auto& pool : node.latest.counters->pools()) {
      v1::PoolView& view = at(node.id.service, pool.pool());
      view.set_limit(view.limit() + pool.limit());
      view.set_in_flight(view.in_flight() + pool.in_flight());
      view.set_queue_length(view.queue_length() + pool.queue_length());
      view.set_nodes(view.nodes() + 1);
    }
  }
  const auto history = fleet_.baselines();
  for (auto& [key, view] : views) {
    if (const auto observed = fleet_.pool_observed(key.first, key.second)) {
      if (observed->rate) view.set_rate(*observed->rate);
      if (observed->latency) *view.mutable_latency() = policy::to_proto(*observed->latency);
      view.set_reason(observed->reason);
    }
    if (const auto found = history->pools.find(key); found != history->pools.end()) {
      *view.mutable_baseline() = to_proto(found->second);
      if (found->second.expected) view.mutable_baseline()->set_ahead(found->second.rate);
    }
    if (const auto imposed = fleet_.find_override("pool", key.second, key.first)) *view.mutable_override() = *imposed;
  }
  return views;
}

std::map<Key, v1::UpstreamView> Admin::upstream_views(const std::string& service) const {
  std::map<Key, v1::UpstreamView> views;
  const auto at = [&](const std::string& of, const std::string& name) -> v1::UpstreamView& {
    v1::UpstreamView& view = views[{of, name}];
    view.set_service(of);
    view.set_name(name);
    return view;
  };
  for (const auto& policy : fleet_.policies()) {
    const auto& spec = policy->spec();
    if (!service.empty() && service != spec.service()) continue;
    for (const auto& upstream : spec.upstreams())
      at(spec.service(), upstream.name()).set_policy(policy->metadata().name());
  }
  struct Sum {
    double latency_seconds = 0, answers = 0, usefulness = 0;
    int usefulness_nodes = 0;
    std::map<std::string, int> bounds;
    google::protobuf::Timestamp last_transition;
  };
  std::map<Key, Sum> sums;
  const auto now = clock_.now();
  for (const auto& node : fleet_.nodes()) {
    if (!service.empty() && service != node.id.service) continue;
    if (!speaks(node, now)) continue;
    for (const auto& upstream : node.latest.counters->upstreams()) {
      v1::UpstreamView& view = at(node.id.service, upstream.upstream());
      Sum& sum = sums[{node.id.service, upstream.upstream()}];
      view.set_in_flight(view.in_flight() + upstream.in_flight());
      view.set_waiting(view.waiting() + upstream.waiting());
      // Unbounded on some is unbounded on all.
      view.set_limit(
          static_cast<int>(std::min<std::int64_t>(std::int64_t{view.limit()} + upstream.limit(), INT32_MAX)));
      if (!upstream.bound_by().empty()) ++sum.bounds[upstream.bound_by()];
      const auto oldest = std::max(policy::to_chrono(view.oldest()), policy::to_chrono(upstream.oldest()));
      *view.mutable_oldest() = policy::to_proto(oldest);
      switch (upstream.breaker()) {
        case v1::BREAKER_STATE_OPEN:
          view.set_nodes_open(view.nodes_open() + 1);
          break;
        case v1::BREAKER_STATE_HALF_OPEN:
          view.set_nodes_half_open(view.nodes_half_open() + 1);
          break;
        default:
          view.set_nodes_closed(view.nodes_closed() + 1);
      }
      if (upstream.has_usefulness()) {
        sum.usefulness += upstream.usefulness();
        ++sum.usefulness_nodes;
      }
      if (const auto rates = upstream_rates(node, upstream.upstream())) {
        view.set_attempts_per_second(view.attempts_per_second() + rates->attempts);
        view.set_ok_per_second(view.ok_per_second() + rates->ok);
        view.set_failed_per_second(view.failed_per_second() + rates->failed);
        view.set_rejected_per_second(view.rejected_per_second() + rates->rejected);
        sum.latency_seconds += rates->latency_seconds;
        sum.answers += rates->answers;
      }
      if (const auto last = node.last_transition.find(upstream.upstream()); last != node.last_transition.end()) {
        if (policy::to_chrono(last->second.time()) >= policy::to_chrono(sum.last_transition)) {
          sum.last_transition = last->second.time();
          view.set_reason(absl::StrCat(node.id.node, ": ", last->second.reason()));
        }
      }
    }
  }
  const auto history = fleet_.baselines();
  for (auto& [key, view] : views) {
    if (const auto found = history->upstreams.find(key); found != history->upstreams.end())
      *view.mutable_baseline() = to_proto(found->second);
    const Sum& sum = sums[key];
    if (sum.answers > 0)
      *view.mutable_latency() = policy::to_proto(decision::from_seconds(sum.latency_seconds / sum.answers));
    if (sum.usefulness_nodes > 0) view.set_usefulness(sum.usefulness / sum.usefulness_nodes);
    if (const auto most = std::ranges::max_element(sum.bounds, {}, [](const auto& bound) { return bound.second; });
        most != sum.bounds.end())
      view.set_bound_by(most->first);
    if (auto cause = fleet_.cause(key.first, key.second)) *view.mutable_cause() = *std::move(cause);
    if (const auto imposed = fleet_.find_override("upstream", key.second, key.first))
      *view.mutable_override() = *imposed;
  }
  return views;
}

absl::StatusOr<v1::ListPoolsResponse> Admin::list_pools(const v1::ListPoolsRequest& request) const {
  auto page = Page::read("pools/" + request.service(), request.page_size(), request.page_token());
  if (!page.ok()) return page.status();
  v1::ListPoolsResponse response;
  response.set_next_page_token(
      paginate(pool_views(request.service()), *page, [&](const v1::PoolView& view) { *response.add_pools() = view; }));
  return response;
}

absl::StatusOr<v1::ListUpstreamsResponse> Admin::list_upstreams(const v1::ListUpstreamsRequest& request) const {
  auto page = Page::read("upstreams/" + request.service(), request.page_size(), request.page_token());
  if (!page.ok()) return page.status();
  v1::ListUpstreamsResponse response;
  response.set_next_page_token(paginate(upstream_views(request.service()), *page,
                                        [&](const v1::UpstreamView& view) { *response.add_upstreams() = view; }));
  return response;
}

}  // namespace penstock::controller
