#include "controller/simulate/scenario_file.h"

#include <algorithm>
#include <limits>
#include <set>
#include <utility>

#include "penstock/decision/memory_guard.h"
#include "penstock/decision/shares.h"
#include "penstock/v1/scenario.pb.h"
#include "policy/convert.h"
#include "policy/text.h"
#include "policy/validate.h"
#include "policy/yaml_message.h"
#include "policy/yaml_tree.h"

namespace penstock::simulate {
namespace {

using namespace std::chrono_literals;
using google::protobuf::RepeatedPtrField;
using policy::cat;

constexpr std::int64_t kKiB = 1024;
constexpr std::int64_t kMiB = 1024 * kKiB;

// For requests on nodes that have next to no memory; policies take no less.
constexpr std::int64_t kLeastBudget = kMiB;

// Reads one message, with defaults, and collects what is wrong with it.
class Converter {
 public:
  explicit Converter(const v1::Scenario& from) : from_(from) {}

  Scenario convert() {
    name();
    to_.about = from_.about();
    if (to_.about.empty()) violation("about", "is required");
    to_.duration = duration(from_.has_duration(), from_.duration(), "duration", 240s, 10s, 1h);
    load();
    users();
    nodes();
    upstreams();
    pages();
    outages();
    monitoring();
    to_.history.days = number(true, from_.history().days(), "history.days", 0, 0, 28);
    to_.history.day = duration(from_.history().has_day(), from_.history().day(), "history.day", 24h, 24s, 24h);
    for (int i = 0; i < from_.overload_size(); ++i) {
      to_.overload.push_back(window(from_.overload(i), item("overload", i)));
    }
    measure();
    operators_policy();
    return std::move(to_);
  }

  std::vector<errors::Violation> violations;

 private:
  void violation(std::string field, std::string message) {
    violations.push_back({std::move(field), std::move(message)});
  }

  template <class Number>
  Number number(bool given, Number value, const std::string& field, Number standard, Number low, Number high) {
    if (!given) return standard;
    if (value < low || value > high) violation(field, cat(value, " is not in [", low, ", ", high, "]"));
    return value;
  }

  Duration duration(bool given, const google::protobuf::Duration& value, const std::string& field, Duration standard,
                    Duration low = Duration::zero(), Duration high = std::chrono::hours(1)) {
    if (!given) return standard;
    const Duration read = policy::to_chrono(value);
    if (read < low || read > high) {
      violation(field, cat("is not between ", decision::seconds(low), "s and ", decision::seconds(high), "s"));
    }
    return read;
  }

  template <class Message>
  Window window(const Message& message, const std::string& field) {
    Window read;
    read.from = duration(message.has_from(), message.from(), field + ".from", 0s);
    read.to = duration(message.has_to(), message.to(), field + ".to", 0s);
    if (!message.has_from()) violation(field + ".from", "is required");
    if (!message.has_to()) violation(field + ".to", "is required");
    if (message.has_from() && message.has_to() && read.to <= read.from) violation(field + ".to", "is not after from");
    return read;
  }

  static std::string item(std::string_view list, int index) { return cat(list, "[", index, "]"); }

  void name() {
    to_.name = from_.name();
    const auto allowed = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; };
    if (to_.name.empty()) {
      violation("name", "is required");
    } else if (to_.name.size() > 63 || !std::ranges::all_of(to_.name, allowed)) {
      violation("name", "is not 1 to 63 characters of a-z, 0-9 and \"-\"");
    }
  }

  void load() {
    const v1::Scenario::Load& load = from_.load();
    to_.load.rate = number(load.has_rate(), load.rate(), "load.rate", 300.0, 0.1, 1e5);
    for (int i = 0; i < load.bursts_size(); ++i) {
      const std::string at = item("load.bursts", i);
      to_.load.bursts.push_back(
          {window(load.bursts(i), at), number(true, load.bursts(i).factor(), at + ".factor", 1.0, 0.0, 1000.0)});
    }
    for (int i = 0; i < load.curve_size(); ++i) {
      const std::string at = item("load.curve", i);
      const auto& point = load.curve(i);
      if (!point.has_at()) violation(at + ".at", "is required");
      const Duration when = duration(true, point.at(), at + ".at", 0s);
      to_.load.curve.push_back({when, number(true, point.factor(), at + ".factor", 1.0, 0.0, 1000.0)});
      if (i > 0 && to_.load.curve[i].at <= to_.load.curve[i - 1].at)
        violation(at + ".at", "is not after the point before");
    }
    if (to_.load.highest_rate() <= 0) violation("load", "nobody ever comes");
  }

  void users() {
    const v1::Scenario::Users& users = from_.users();
    UsersModel& to = to_.users;
    to.patience = duration(users.has_patience(), users.patience(), "users.patience", 10s, 100ms, 10min);
    to.refresh_share = ratio(users.has_refresh_share(), users.refresh_share(), "users.refresh_share", 0.5);
    to.refresh_after = duration(users.has_refresh_after(), users.refresh_after(), "users.refresh_after", 4s, 1ms);
    to.retry_share = ratio(users.has_retry_share(), users.retry_share(), "users.retry_share", 0.6);
    to.retry_after = duration(users.has_retry_after(), users.retry_after(), "users.retry_after", 1s, 1ms);
    to.max_tries = number(users.has_max_tries(), users.max_tries(), "users.max_tries", 4, 1, 100);
  }

  double ratio(bool given, double value, const std::string& field, double standard) {
    return number(given, value, field, standard, 0.0, 1.0);
  }

  std::uint32_t node(int value, const std::string& field) {
    number(true, value, field, 0, 0, to_.nodes.count - 1);
    return static_cast<std::uint32_t>(value);
  }

  void nodes() {
    const v1::Scenario::Nodes& nodes = from_.nodes();
    NodesModel& to = to_.nodes;
    const auto bytes = [&](bool given, std::int64_t value, const char* field, std::int64_t standard) {
      return number(given, value, field, standard, std::int64_t{0}, std::int64_t{1} << 44);
    };
    to.count = number(nodes.has_count(), nodes.count(), "nodes.count", 2, 1, 1000);
    to.cores = number(nodes.has_cores(), nodes.cores(), "nodes.cores", 8, 1, 256);
    to.memory_bytes = bytes(nodes.has_memory_bytes(), nodes.memory_bytes(), "nodes.memory_bytes", 4096 * kMiB);
    to.idle_memory_bytes =
        bytes(nodes.has_idle_memory_bytes(), nodes.idle_memory_bytes(), "nodes.idle_memory_bytes", 100 * kMiB);
    to.request_memory_bytes =
        bytes(nodes.has_request_memory_bytes(), nodes.request_memory_bytes(), "nodes.request_memory_bytes", 64 * kKiB);
    to.thread_memory_bytes =
        bytes(nodes.has_thread_memory_bytes(), nodes.thread_memory_bytes(), "nodes.thread_memory_bytes", 256 * kKiB);
    to.queued_memory_bytes =
        bytes(nodes.has_queued_memory_bytes(), nodes.queued_memory_bytes(), "nodes.queued_memory_bytes", 16 * kKiB);
    if (to.memory_bytes <= to.idle_memory_bytes) violation("nodes.memory_bytes", "is not above the idle memory");
    to.refusal_cpu = duration(nodes.has_refusal_cpu(), nodes.refusal_cpu(), "nodes.refusal_cpu", 100us);
    to.start_time = duration(nodes.has_start_time(), nodes.start_time(), "nodes.start_time", 10s);
    for (int i = 0; i < nodes.restarts_size(); ++i) {
      const std::string at = item("nodes.restarts", i);
      if (!nodes.restarts(i).has_at()) violation(at + ".at", "is required");
      to.restarts.push_back(
          {node(nodes.restarts(i).node(), at + ".node"), duration(true, nodes.restarts(i).at(), at + ".at", 0s)});
    }
    to.skew.resize(static_cast<std::size_t>(std::clamp(to.count, 1, 1000)));
    for (int i = 0; i < nodes.skews_size(); ++i) {
      const std::string at = item("nodes.skews", i);
      if (!nodes.skews(i).has_by()) violation(at + ".by", "is required");
      const Duration by = duration(true, nodes.skews(i).by(), at + ".by", 0s);
      const std::uint32_t of = node(nodes.skews(i).node(), at + ".node");
      if (of < to.skew.size()) to.skew[of] = nodes.skews(i).behind() ? -by : by;
    }
    for (int i = 0; i < nodes.slow_links_size(); ++i) {
      const std::string at = item("nodes.slow_links", i);
      const auto& link = nodes.slow_links(i);
      if (!link.has_extra()) violation(at + ".extra", "is required");
      const Duration from = duration(link.has_from(), link.from(), at + ".from", 0s);
      const Duration to_time = duration(link.has_to(), link.to(), at + ".to", Duration::max());
      to.slow_links.push_back(
          {node(link.node(), at + ".node"), duration(true, link.extra(), at + ".extra", 0s), {from, to_time}});
    }
  }

  Capacity capacity(const v1::Scenario::Capacity& from, const std::string& at) {
    Capacity to;
    to.servers = number(true, from.servers(), at + ".servers", 1, 1, 1'000'000);
    if (from.has_queue()) to.queue = number(true, from.queue(), at + ".queue", 0, 0, 1'000'000);
    to.works_on_abandoned = !from.has_works_on_abandoned() || from.works_on_abandoned();
    to.collapse = number(from.has_collapse(), from.collapse(), at + ".collapse", 0.0, 0.0, 100.0);
    to.others_rate = number(from.has_others_rate(), from.others_rate(), at + ".others_rate", 0.0, 0.0, 1e5);
    return to;
  }

  static Truth truth(const v1::Scenario::Episode& from, const Episode& to) {
    switch (from.truth()) {
      case v1::Scenario::TRUTH_THEIRS:
        return Truth::theirs;
      case v1::Scenario::TRUTH_OURS:
        return Truth::ours;
      case v1::Scenario::TRUTH_FULL:
        return Truth::full;
      case v1::Scenario::TRUTH_DEAD:
        return Truth::dead;
      default:
        break;
    }
    if (to.capacity) return Truth::ours;
    if (to.rate_limit) return Truth::full;
    return to.silent_ratio >= 0.95 || to.error_ratio.value_or(0) >= 0.95 ? Truth::dead : Truth::theirs;
  }

  Episode episode(const v1::Scenario::Episode& from, const std::string& at) {
    Episode to;
    to.window = window(from, at);
    if (from.has_latency()) to.latency = duration(true, from.latency(), at + ".latency", 0s);
    if (from.has_spread()) to.spread = number(true, from.spread(), at + ".spread", 0.0, 0.0, 3.0);
    to.share = ratio(from.has_share(), from.share(), at + ".share", 1);
    if (from.has_error_ratio()) to.error_ratio = ratio(true, from.error_ratio(), at + ".error_ratio", 0);
    to.error_latency = duration(from.has_error_latency(), from.error_latency(), at + ".error_latency", 20ms);
    to.silent_ratio = ratio(from.has_silent_ratio(), from.silent_ratio(), at + ".silent_ratio", 0);
    if (from.has_capacity()) to.capacity = capacity(from.capacity(), at + ".capacity");
    if (from.has_rate_limit()) {
      const auto& limit = from.rate_limit();
      const double rate = number(true, limit.rate(), at + ".rate_limit.rate", 1.0, 1e-3, 1e6);
      const double burst = number(limit.has_burst(), limit.burst(), at + ".rate_limit.burst", rate, 1.0, 1e6);
      to.rate_limit =
          RateLimit{rate, std::max(burst, 1.0),
                    duration(limit.has_retry_after(), limit.retry_after(), at + ".rate_limit.retry_after", 1s)};
    }
    if (from.has_on() != from.has_off()) violation(at + (from.has_on() ? ".off" : ".on"), "is required with the other");
    if (from.has_on() && from.has_off()) {
      to.on = duration(true, from.on(), at + ".on", 0s, 1ms);
      to.off = duration(true, from.off(), at + ".off", 0s, 1ms);
    }
    to.ramp = duration(from.has_ramp(), from.ramp(), at + ".ramp", 0s);
    to.swing = duration(from.has_swing(), from.swing(), at + ".swing", 0s);
    to.truth = truth(from, to);
    return to;
  }

  std::uint32_t find_or_add_upstream(const std::string& name) {
    for (std::uint32_t i = 0; i < to_.upstreams.size(); ++i) {
      if (to_.upstreams[i].name == name) return i;
    }
    UpstreamModel added;
    added.name = name;
    added.latency = 50ms;
    added.spread = 0.3;
    to_.upstreams.push_back(std::move(added));
    return static_cast<std::uint32_t>(to_.upstreams.size() - 1);
  }

  void upstreams() {
    std::set<std::string> names;
    for (int i = 0; i < from_.upstreams_size(); ++i) {
      const v1::Scenario::Upstream& from = from_.upstreams(i);
      const std::string at = item("upstreams", i);
      if (from.name().empty()) violation(at + ".name", "is required");
      if (!names.insert(from.name()).second) violation(at + ".name", "is the name of an earlier one");
      UpstreamModel to;
      to.name = from.name();
      to.latency = duration(from.has_latency(), from.latency(), at + ".latency", 50ms);
      to.spread = number(from.has_spread(), from.spread(), at + ".spread", 0.3, 0.0, 3.0);
      to.error_ratio = ratio(from.has_error_ratio(), from.error_ratio(), at + ".error_ratio", 0);
      if (from.has_capacity()) to.capacity = capacity(from.capacity(), at + ".capacity");
      for (int k = 0; k < from.episodes_size(); ++k) {
        to.episodes.push_back(episode(from.episodes(k), at + "." + item("episodes", k)));
      }
      to_.upstreams.push_back(std::move(to));
    }
  }

  void page(const v1::Scenario::Page& from, const std::string& at) {
    PageModel to;
    to.name = from.name();
    if (to.name.empty()) violation(at + ".name", "is required");
    to.path = from.path().empty() ? "/" + to.name : from.path();
    to.share = number(from.has_share(), from.share(), at + ".share", 1.0, 0.0, 1e6);
    for (const std::string& name : from.calls()) to.calls.push_back(find_or_add_upstream(name));
    to.cpu = duration(from.has_cpu(), from.cpu(), at + ".cpu", 4ms, 1us, 10s);
    to.cpu_spread = number(from.has_cpu_spread(), from.cpu_spread(), at + ".cpu_spread", 0.3, 0.0, 3.0);
    to.tenants = number(from.has_tenants(), from.tenants(), at + ".tenants", 0, 0, 1'000'000);
    to.retries = number(from.has_retries(), from.retries(), at + ".retries", 0, 0, 10);
    if (from.priority() != v1::PRIORITY_UNSPECIFIED) {
      to.priority = static_cast<decision::Priority>(from.priority() - v1::PRIORITY_CRITICAL);
    }
    to.affected = from.has_affected() ? from.affected() : std::ranges::any_of(to.calls, [&](std::uint32_t upstream) {
      return !to_.upstreams[upstream].episodes.empty();
    });
    to_.pages.push_back(std::move(to));
  }

  void pages() {
    for (int i = 0; i < from_.pages_size(); ++i) page(from_.pages(i), item("pages", i));
    if (from_.pages_size() > 0) {
      const auto wanted = [](const PageModel& page) { return page.share > 0; };
      if (std::ranges::none_of(to_.pages, wanted)) violation("pages", "nobody wants any: all shares are 0");
      return;
    }
    v1::Scenario::Page standard;
    standard.set_name("with-a");
    for (const char* name : {"A", "B", "C"}) standard.add_calls(name);
    page(standard, "");
    standard.set_name("without-a");
    standard.set_calls(0, "D");
    page(standard, "");
  }

  void outages() {
    const v1::Scenario::Outages& from = from_.outages();
    for (int i = 0; i < from.controller_size(); ++i) {
      to_.outages.controller.push_back(window(from.controller(i), item("outages.controller", i)));
    }
    for (int i = 0; i < from.prometheus_size(); ++i) {
      to_.outages.prometheus.push_back(window(from.prometheus(i), item("outages.prometheus", i)));
    }
    for (int i = 0; i < from.stream_size(); ++i) {
      const std::string at = item("outages.stream", i);
      StreamOutage outage{window(from.stream(i), at), std::nullopt};
      if (from.stream(i).has_node()) outage.node = node(from.stream(i).node(), at + ".node");
      to_.outages.stream.push_back(outage);
    }
  }

  void monitoring() {
    const v1::Scenario::Monitoring& from = from_.monitoring();
    MonitoringModel& to = to_.monitoring;
    to.scrape_interval =
        duration(from.has_scrape_interval(), from.scrape_interval(), "monitoring.scrape_interval", 1s, 100ms, 10min);
    to.delay = duration(from.has_delay(), from.delay(), "monitoring.delay", 100ms);
    to.stream_delay = duration(from.has_stream_delay(), from.stream_delay(), "monitoring.stream_delay", 20ms);
    to.lost_scrapes = ratio(from.has_lost_scrapes(), from.lost_scrapes(), "monitoring.lost_scrapes", 0);
  }

  void measure() {
    if (from_.has_measure()) {
      to_.measure = window(from_.measure(), "measure");
    } else {
      to_.measure = to_.trouble().value_or(Window{20s, to_.duration});
    }
  }

  // What shops would write that know their users' patience and nothing else.
  decision::Policy standard_policy() const {
    decision::Policy policy;
    policy.name = to_.name;
    policy.service = "shop";
    decision::PoolPolicy pool;
    pool.memory_bytes =
        std::max(kLeastBudget,
                 decision::memory_for_requests({.base = to_.nodes.idle_memory_bytes, .limit = to_.nodes.memory_bytes}));
    policy.pools.push_back(pool);
    for (const PageModel& page : to_.pages) {
      decision::RoutePolicy route;
      route.match = page.path;
      route.priority = page.priority;
      route.deadline = to_.users.patience;
      policy.routes.push_back(route);
      // As many as a policy may name; the rest are others.
      for (int i = 0; i < page.tenants && policy.tenants.named.size() + 1 < decision::kMostTenants; ++i) {
        policy.tenants.header = "x-tenant";
        policy.tenants.named.push_back({page.name + "-" + std::to_string(i)});
      }
    }
    for (const UpstreamModel& model : to_.upstreams) {
      decision::UpstreamPolicy upstream;
      upstream.name = model.name;
      upstream.hosts = {model.name};
      upstream.timeout = to_.users.patience;
      policy.upstreams.push_back(upstream);
    }
    return policy;
  }

  void operators_policy() {
    to_.policy = standard_policy();
    if (!from_.has_policy()) return;
    v1::Policy policy;
    policy.mutable_metadata()->set_name(to_.name);
    *policy.mutable_spec() = from_.policy();
    bool valid = true;
    for (const errors::Violation& found : policy::validate(policy)) {
      const std::string_view field = found.field;
      violation("policy" + std::string(field.starts_with("spec.") ? field.substr(4) : ""), found.message);
      valid = false;
    }
    if (!valid) return;
    if (const auto read = policy::to_decision(policy); read.ok()) to_.policy = *read;
  }

  const v1::Scenario& from_;
  Scenario to_;
};

}  // namespace

ParsedScenario parse_scenario(std::string_view text) {
  ParsedScenario parsed;
  policy::YamlText yaml = policy::read_yaml(text);
  parsed.problems = std::move(yaml.problems);
  std::erase_if(yaml.documents, [](const policy::YamlNode& node) { return node.kind == policy::YamlNode::Kind::null; });
  if (!parsed.problems.empty()) return parsed;
  if (yaml.documents.size() != 1) {
    parsed.problems.push_back({{}, "", cat("holds ", yaml.documents.size(), " documents, expected one scenario")});
    return parsed;
  }
  v1::Scenario message;
  policy::Positions positions;
  policy::read_message(yaml.documents.front(), "a scenario with the fields kind, name and about", message, positions,
                       parsed.problems);
  if (!parsed.problems.empty()) return parsed;
  Converter converter(message);
  Scenario scenario = converter.convert();
  for (const errors::Violation& violation : converter.violations) {
    parsed.problems.push_back(policy::locate(violation, positions, *v1::Scenario::descriptor()));
  }
  std::ranges::stable_sort(parsed.problems, [](const policy::Problem& a, const policy::Problem& b) {
    return std::pair(a.position.line, a.position.column) < std::pair(b.position.line, b.position.column);
  });
  if (parsed.problems.empty()) parsed.scenario = std::move(scenario);
  return parsed;
}

void adopt(Scenario& scenario, const decision::Policy& policy) { scenario.policy = policy; }

}  // namespace penstock::simulate
