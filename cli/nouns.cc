#include "cli/nouns.h"

#include <chrono>
#include <cmath>
#include <cstdio>
#include <utility>

#include "cli/failure.h"
#include "cli/resource.h"
#include "policy/convert.h"
#include "policy/print.h"
#include "policy/units.h"

namespace penstock::cli {
namespace {

constexpr int kPage = 1000;

// Every page of a list, into one response; `Request` has page_token and page_size.
template <typename Response, typename Request>
Response all_pages(Client& client, Request request) {
  Response all;
  request.set_page_size(kPage);
  while (true) {
    Response page = client.call(request);
    const std::string token = page.next_page_token();
    page.clear_next_page_token();
    all.MergeFrom(page);
    if (token.empty()) return all;
    request.set_page_token(token);
  }
}

// Keeps the elements of a repeated field that `wanted` accepts.
template <typename Repeated, typename Wanted>
void keep(Repeated& items, Wanted wanted) {
  for (int i = items.size() - 1; i >= 0; --i)
    if (!wanted(items.Get(i))) items.erase(items.begin() + i);
}

template <typename Map>
bool carries(const Map& labels, const std::map<std::string, std::string>& wanted) {
  for (const auto& [key, value] : wanted) {
    const auto found = labels.find(key);
    if (found == labels.end() || found->second != value) return false;
  }
  return true;
}

void no_labels(const Selection& selection, const std::string& noun) {
  if (!selection.labels.empty()) throw Failure(kUsage, "-l: " + noun + " have no labels; select with --service");
}

template <typename Duration>
std::string duration(const Duration& value) {
  return policy::round_duration(policy::to_chrono(value));
}

std::string times(double ratio) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f x", ratio);
  return text;
}

std::string rate(double per_second) {
  char text[32];
  std::snprintf(text, sizeof text, "%.*f", per_second < 10 ? 1 : 0, per_second);
  return text;
}

std::string labels(const google::protobuf::Map<std::string, std::string>& map) {
  std::string text;
  for (const auto& [key, value] : std::map<std::string, std::string>(map.begin(), map.end()))
    text += (text.empty() ? "" : ",") + key + "=" + value;
  return text;
}

std::string until(const v1::Override& imposed) {
  const auto left = policy::to_chrono(imposed.expire_time()) - std::chrono::system_clock::now();
  return imposed.value() + " for " + policy::round_duration(left) + ": " + imposed.reason();
}

Result show(v1::ListNodesResponse nodes) {
  Result result{.nothing = "no nodes"};
  result.table.columns = {{"NAME"},
                          {"SERVICE"},
                          {"STATE"},
                          {"POLICY"},
                          {"REVISION", true},
                          {"LEASE", true},
                          {"IN FLIGHT", true},
                          {"QUEUED", true},
                          {"VERSION"},
                          {"LABELS", false, true},
                          {"METRICS", false, true},
                          {"COUNTERS AGE", true, true},
                          {"REFUSED", false, true}};
  for (const v1::Node& node : nodes.nodes()) {
    int in_flight = 0;
    int queued = 0;
    for (const auto& pool : node.counters().pools()) {
      in_flight += pool.in_flight();
      queued += pool.queue_length();
    }
    const bool drains = node.counters().draining();
    const Cell state = !node.connected()         ? Cell("lost", Colour::red)
                       : drains                  ? Cell("draining", Colour::yellow)
                       : !node.refusal().empty() ? Cell("refusing", Colour::yellow)
                                                 : Cell("connected", Colour::green);
    result.table.rows.push_back({node.name(), node.service(), state, node.policy(),
                                 node.policy_revision() == 0 ? "" : std::to_string(node.policy_revision()),
                                 duration(node.lease()), std::to_string(in_flight), std::to_string(queued),
                                 node.version(), labels(node.labels()), node.metrics_address(),
                                 duration(node.counters_age()), node.refusal()});
    result.names.push_back("node/" + node.name());
  }
  result.message = std::make_shared<v1::ListNodesResponse>(std::move(nodes));
  return result;
}

Result show(v1::ListPoolsResponse pools) {
  Result result{.nothing = "no pools"};
  result.table.columns = {{"NAME"},
                          {"SERVICE"},
                          {"LIMIT", true},
                          {"IN FLIGHT", true},
                          {"QUEUED", true},
                          {"RATE/S", true},
                          {"LATENCY", true},
                          {"NODES", true},
                          {"OVERRIDE"},
                          {"POLICY", false, true},
                          {"REASON", false, true}};
  for (const v1::PoolView& pool : pools.pools()) {
    result.table.rows.push_back(
        {pool.name(), pool.service(), std::to_string(pool.limit()), std::to_string(pool.in_flight()),
         Cell(std::to_string(pool.queue_length()), pool.queue_length() > 0 ? Colour::yellow : Colour::plain),
         pool.has_rate() ? rate(pool.rate()) : "", pool.has_latency() ? duration(pool.latency()) : "",
         std::to_string(pool.nodes()), pool.has_override() ? Cell(until(pool.override()), Colour::yellow) : Cell(""),
         pool.policy(), pool.reason()});
    result.names.push_back("pool/" + pool.name());
  }
  result.message = std::make_shared<v1::ListPoolsResponse>(std::move(pools));
  return result;
}

Cell breaker_state(const v1::UpstreamView& upstream) {
  const int nodes = upstream.nodes_closed() + upstream.nodes_open() + upstream.nodes_half_open();
  if (nodes == 0) return Cell("");
  if (upstream.nodes_open() == nodes) return Cell("open", Colour::red);
  if (upstream.nodes_half_open() == nodes) return Cell("half open", Colour::yellow);
  if (upstream.nodes_closed() == nodes) return Cell("closed", Colour::green);
  return Cell(
      "open on " + std::to_string(upstream.nodes_open() + upstream.nodes_half_open()) + " of " + std::to_string(nodes),
      Colour::yellow);
}

// Whose fault it is that it is slow, once the fleet knows.
Cell cause(const v1::UpstreamView& upstream) {
  const std::string& verdict = upstream.cause().verdict();
  if (verdict.empty() || verdict == "none") return Cell("");
  return Cell(verdict, verdict == "dead" ? Colour::red : Colour::yellow);
}

std::string percent(double share) {
  char text[16];
  std::snprintf(text, sizeof text, "%.0f%%", share * 100);
  return text;
}

Result show(v1::ListUpstreamsResponse upstreams) {
  Result result{.nothing = "no upstreams"};
  result.table.columns = {{"NAME"},
                          {"SERVICE"},
                          {"BREAKER"},
                          {"IN FLIGHT", true},
                          {"WAITING", true},
                          {"CALLS/S", true},
                          {"OK/S", true},
                          {"FAILED/S", true},
                          {"REFUSED/S", true},
                          {"LATENCY", true},
                          {"OLDEST", true},
                          {"CAUSE"},
                          {"LIMIT", true, true},
                          {"BY", false, true},
                          {"USEFUL", true, true},
                          {"EXPECTED", true, true},
                          {"DRIFT", true, true},
                          {"POLICY", false, true},
                          {"REASON", false, true}};
  for (const v1::UpstreamView& upstream : upstreams.upstreams()) {
    result.table.rows.push_back(
        {upstream.name(), upstream.service(), breaker_state(upstream), std::to_string(upstream.in_flight()),
         std::to_string(upstream.waiting()), rate(upstream.attempts_per_second()), rate(upstream.ok_per_second()),
         rate(upstream.failed_per_second()), rate(upstream.rejected_per_second()),
         upstream.has_latency() ? duration(upstream.latency()) : "",
         upstream.has_oldest() ? duration(upstream.oldest()) : "", cause(upstream),
         upstream.bound_by().empty() || upstream.bound_by() == "none" ? "" : std::to_string(upstream.limit()),
         upstream.bound_by(), upstream.has_usefulness() ? percent(upstream.usefulness()) : "",
         upstream.baseline().has_expected()
             ? duration(policy::to_proto(std::chrono::nanoseconds(std::llround(upstream.baseline().expected() * 1e9))))
             : "",
         upstream.baseline().has_drift() ? times(upstream.baseline().drift()) : "", upstream.policy(),
         upstream.reason()});
    result.names.push_back("upstream/" + upstream.name());
  }
  result.message = std::make_shared<v1::ListUpstreamsResponse>(std::move(upstreams));
  return result;
}

Result show_breakers(v1::ListUpstreamsResponse upstreams) {
  Result result{.nothing = "no breakers"};
  result.table.columns = {
      {"UPSTREAM"},        {"SERVICE"},      {"STATE"},    {"CLOSED", true}, {"OPEN", true},
      {"HALF OPEN", true}, {"USEFUL", true}, {"OVERRIDE"}, {"REASON"},       {"POLICY", false, true}};
  for (const v1::UpstreamView& upstream : upstreams.upstreams()) {
    result.table.rows.push_back({upstream.name(), upstream.service(), breaker_state(upstream),
                                 std::to_string(upstream.nodes_closed()), std::to_string(upstream.nodes_open()),
                                 std::to_string(upstream.nodes_half_open()),
                                 upstream.has_usefulness() ? percent(upstream.usefulness()) : "",
                                 upstream.has_override() ? Cell(until(upstream.override()), Colour::yellow) : Cell(""),
                                 upstream.reason(), upstream.policy()});
    result.names.push_back("breaker/" + upstream.name());
  }
  result.message = std::make_shared<v1::ListUpstreamsResponse>(std::move(upstreams));
  return result;
}

const v1::Condition* unmet(const v1::Policy& policy) {
  for (const v1::Condition& condition : policy.status().conditions())
    if (!condition.met() && condition.type() != "Conflict") return &condition;
  for (const v1::Condition& condition : policy.status().conditions())
    if (condition.met() && condition.type() == "Conflict") return &condition;
  return nullptr;
}

Result show(v1::ListPoliciesResponse policies) {
  Result result{.nothing = "no policies"};
  result.table.columns = {{"NAME"},
                          {"SERVICE"},
                          {"REVISION", true},
                          {"APPLIED", true},
                          {"MODE"},
                          {"AGE", true},
                          {"PROBLEM"},
                          {"POOLS", true, true},
                          {"ROUTES", true, true},
                          {"UPSTREAMS", true, true},
                          {"LABELS", false, true}};
  for (const v1::Policy& policy : policies.policies()) {
    const v1::PolicyStatus& status = policy.status();
    const bool everywhere = status.nodes_applied() == status.nodes();
    const v1::Condition* problem = unmet(policy);
    result.table.rows.push_back(
        {policy.metadata().name(), policy.spec().service(), std::to_string(policy.metadata().revision()),
         Cell(std::to_string(status.nodes_applied()) + "/" + std::to_string(status.nodes()),
              everywhere ? Colour::green : Colour::yellow),
         policy.spec().mode() == v1::POLICY_MODE_SHADOW ? "shadow" : "active",
         format_age(policy.metadata().update_time()), problem ? Cell(problem->reason(), Colour::yellow) : Cell(""),
         std::to_string(policy.spec().pools_size()), std::to_string(policy.spec().routes_size()),
         std::to_string(policy.spec().upstreams_size()), labels(policy.metadata().labels())});
    result.names.push_back("policy/" + policy.metadata().name());
    result.documents.push_back(policy::to_yaml(policy));
  }
  result.message = std::make_shared<v1::ListPoliciesResponse>(std::move(policies));
  return result;
}

void must_exist(bool found, const char* kind, const Selection& selection) {
  if (found || selection.name.empty()) return;
  throw Failure(kFailed, "there is no " + std::string(kind) + " \"" + selection.name + "\"" +
                             (selection.service.empty() ? "" : " of service \"" + selection.service + "\""));
}

}  // namespace

v1::ListNodesResponse list_nodes(Client& client, const Selection& selection) {
  v1::ListNodesRequest request;
  request.set_service(selection.service);
  auto all = all_pages<v1::ListNodesResponse>(client, request);
  keep(*all.mutable_nodes(), [&](const v1::Node& node) {
    return (selection.name.empty() || node.name() == selection.name) && carries(node.labels(), selection.labels);
  });
  must_exist(all.nodes_size() > 0, "node", selection);
  return all;
}

v1::ListPoolsResponse list_pools(Client& client, const Selection& selection) {
  no_labels(selection, "pools");
  v1::ListPoolsRequest request;
  request.set_service(selection.service);
  auto all = all_pages<v1::ListPoolsResponse>(client, request);
  keep(*all.mutable_pools(),
       [&](const v1::PoolView& pool) { return selection.name.empty() || pool.name() == selection.name; });
  must_exist(all.pools_size() > 0, "pool", selection);
  return all;
}

v1::ListUpstreamsResponse list_upstreams(Client& client, const Selection& selection) {
  no_labels(selection, "upstreams");
  v1::ListUpstreamsRequest request;
  request.set_service(selection.service);
  auto all = all_pages<v1::ListUpstreamsResponse>(client, request);
  keep(*all.mutable_upstreams(),
       [&](const v1::UpstreamView& upstream) { return selection.name.empty() || upstream.name() == selection.name; });
  must_exist(all.upstreams_size() > 0, "upstream", selection);
  return all;
}

v1::ListPoliciesResponse list_policies(Client& client, const Selection& selection) {
  auto all = all_pages<v1::ListPoliciesResponse>(client, v1::ListPoliciesRequest());
  keep(*all.mutable_policies(), [&](const v1::Policy& policy) {
    return (selection.name.empty() || policy.metadata().name() == selection.name) &&
           (selection.service.empty() || policy.spec().service() == selection.service) &&
           carries(policy.metadata().labels(), selection.labels);
  });
  must_exist(all.policies_size() > 0, "policy", selection);
  return all;
}

Result get(Client& client, const std::string& noun, const Selection& selection) {
  if (noun == "breakers") return show_breakers(list_upstreams(client, selection));
  if (noun == "nodes") return show(list_nodes(client, selection));
  if (noun == "pools") return show(list_pools(client, selection));
  if (noun == "upstreams") return show(list_upstreams(client, selection));
  return show(list_policies(client, selection));
}

}  // namespace penstock::cli
