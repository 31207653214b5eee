#include "policy/validate.h"

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <set>
#include <string>
#include <string_view>
#include <utility>

#include "absl/strings/ascii.h"
#include "penstock/decision/policy.h"
#include "penstock/decision/shares.h"
#include "penstock/v1/policy.pb.h"
#include "policy/convert.h"
#include "policy/hosts.h"
#include "policy/text.h"
#include "policy/units.h"

namespace penstock::policy {
namespace {

using google::protobuf::Duration;
using std::chrono::nanoseconds;
using namespace std::chrono_literals;

constexpr int kMost = 1'000'000;
constexpr double kLeastWeight = 0.01;
constexpr double kMostWeight = 10'000;
constexpr std::int64_t kLeastNodeMemory = 1 << 24;
constexpr std::int64_t kMostNodeMemory = std::int64_t{1} << 50;

bool name_is_made_of(std::string_view name, std::string_view punctuation, bool capitals) {
  if (name.empty() || name.size() > 63) return false;
  for (const char c : name) {
    const bool fine = absl::ascii_islower(c) || absl::ascii_isdigit(c) || (capitals && absl::ascii_isupper(c)) ||
                      punctuation.find(c) != std::string_view::npos;
    if (!fine) return false;
  }
  return true;
}

bool well_formed(const Duration& value) {
  return value.nanos() > -1'000'000'000 && value.nanos() < 1'000'000'000 &&
         !(value.seconds() > 0 && value.nanos() < 0) && !(value.seconds() < 0 && value.nanos() > 0);
}

class Validation {
 public:
  explicit Validation(const v1::Policy& policy) : policy_(policy) {}

  std::vector<errors::Violation> run() {
    metadata();
    if (!policy_.has_spec()) {
      report("spec", "is required");
    } else {
      spec(policy_.spec());
    }
    return std::move(found_);
  }

 private:
  void report(std::string field, std::string message) { found_.push_back({std::move(field), std::move(message)}); }

  template <typename T>
  void in_range(const std::string& field, T value, T low, T high) {
    if (!(value >= low && value <= high))  // also refuses NaN
      report(field, cat(value, " is out of range (", low, " to ", high, ")"));
  }

  // The value in force; its default when it is not set or was reported.
  nanoseconds duration(const std::string& field, bool set, const Duration& value, nanoseconds otherwise,
                       nanoseconds low, nanoseconds high) {
    if (!set) return otherwise;
    const nanoseconds result = to_chrono(value);
    if (!well_formed(value)) {
      report(field, "is not a duration: seconds and nanos contradict each other");
      return otherwise;
    }
    if (result < low || result > high) {
      report(field, cat(format_duration(result), " is out of range (", format_duration(low), " to ",
                        format_duration(high), ")"));
      return otherwise;
    }
    return result;
  }

  // min and max of a limit, whose defaults are `min` and `max`.
  template <typename Message>
  void bounds(const std::string& at, const Message& message, int min, int max) {
    const std::size_t before = found_.size();
    if (message.has_min()) in_range(at + ".min", min = message.min(), 1, kMost);
    if (message.has_max()) in_range(at + ".max", max = message.max(), 1, kMost);
    if (found_.size() != before || min <= max) return;
    const auto tell = [](bool set) { return set ? "" : ", the default"; };
    if (message.has_max()) {
      report(at + ".max", cat(max, " is below min (", min, tell(message.has_min()), ")"));
    } else {
      report(at + ".min", cat(min, " is above max (", max, tell(false), ")"));
    }
  }

  template <typename Enum>
  void choice(const std::string& field, Enum value, bool valid) {
    if (!valid) report(field, cat(static_cast<int>(value), " is no known value"));
  }

  void metadata() {
    const std::string& name = policy_.metadata().name();
    if (name.empty()) {
      report("metadata.name", "is required");
    } else if (!name_is_made_of(name, "-", false) || !absl::ascii_islower(name[0])) {
      report("metadata.name", "must be 1 to 63 characters of a-z, 0-9 and \"-\", beginning with a letter");
    }
  }

  void spec(const v1::PolicySpec& spec) {
    if (spec.service().empty()) report("spec.service", "is required");
    if (spec.service().size() > 255) report("spec.service", "is longer than 255 characters");
    choice("spec.mode", spec.mode(), v1::PolicyMode_IsValid(spec.mode()));
    std::set<std::string> pools{"default"};
    std::set<std::string> tenant_names;
    tenants(spec.tenants(), tenant_names);
    std::set<std::string> seen;
    for (int i = 0; i < spec.pools_size(); ++i) {
      const std::string at = cat("spec.pools[", i, "]");
      pool(at, spec.pools(i));
      unique(seen, at + ".name", spec.pools(i).name());
      pools.insert(spec.pools(i).name());
    }
    for (int i = 0; i < spec.routes_size(); ++i) {
      const std::string at = cat("spec.routes[", i, "]");
      route(at, spec.routes(i), pools);
      if (const std::string& tenant = spec.routes(i).tenant(); !tenant.empty() && !tenant_names.contains(tenant))
        report(at + ".tenant", cat("there is no tenant \"", tenant, "\""));
    }
    seen.clear();
    std::set<std::string> hosts;
    for (int i = 0; i < spec.upstreams_size(); ++i) {
      const std::string at = cat("spec.upstreams[", i, "]");
      upstream(at, spec.upstreams(i), hosts);
      unique(seen, at + ".name", spec.upstreams(i).name());
    }
    guards(spec.guards());
  }

  void tenants(const v1::Tenants& tenants, std::set<std::string>& names) {
    const std::string at = "spec.tenants";
    if (!tenants.header().empty() && !name_is_made_of(tenants.header(), "-_", true)) {
      report(at + ".header", "must be 1 to 63 characters of a-z, A-Z, 0-9, \"-\" and \"_\"");
    }
    if (tenants.has_others()) in_range(at + ".others", tenants.others(), kLeastWeight, kMostWeight);
    if (tenants.named_size() >= static_cast<int>(decision::kMostTenants)) {
      report(at + ".named", cat(tenants.named_size(), " are too many (at most ", decision::kMostTenants - 1, ")"));
    }
    for (int i = 0; i < tenants.named_size(); ++i) {
      const v1::Tenant& tenant = tenants.named(i);
      const std::string field = cat(at, ".named[", i, "]");
      const auto printable = [](char c) { return absl::ascii_isgraph(static_cast<unsigned char>(c)); };
      if (tenant.name().empty()) {
        report(field + ".name", "is required");
      } else if (tenant.name() == "others") {
        report(field + ".name", "\"others\" is taken: it is all that are not named");
      } else if (tenant.name().size() > 63 || !std::ranges::all_of(tenant.name(), printable)) {
        report(field + ".name", "must be 1 to 63 printable characters without blanks");
      }
      unique(names, field + ".name", tenant.name());
      if (tenant.has_weight()) in_range(field + ".weight", tenant.weight(), kLeastWeight, kMostWeight);
    }
  }

  void guards(const v1::Guards& guards) {
    const std::int64_t memory = guards.memory_bytes();
    if (guards.has_memory_bytes() && (memory < kLeastNodeMemory || memory > kMostNodeMemory)) {
      report("spec.guards.memory_bytes", cat(memory, " bytes are out of range (16MiB to 1PiB)"));
    }
    choice("spec.guards.memory_guard", guards.memory_guard(), v1::GuardMode_IsValid(guards.memory_guard()));
    choice("spec.guards.cpu_guard", guards.cpu_guard(), v1::GuardMode_IsValid(guards.cpu_guard()));
  }

  void unique(std::set<std::string>& seen, const std::string& field, const std::string& name) {
    if (!name.empty() && !seen.insert(name).second) report(field, cat("\"", name, "\" is taken already"));
  }

  void pool(const std::string& at, const v1::Pool& pool) {
    if (pool.name().empty()) {
      report(at + ".name", "is required");
    } else if (!name_is_made_of(pool.name(), "-_", false)) {
      report(at + ".name", "must be 1 to 63 characters of a-z, 0-9, \"-\" and \"_\"");
    }
    const decision::PoolPolicy defaults;
    bounds(at, pool, defaults.min, defaults.max);
    if (pool.has_memory_bytes() && pool.memory_bytes() < (1 << 20)) {
      report(at + ".memory_bytes", cat(pool.memory_bytes(), " bytes are too few (at least 1MiB)"));
    }
    if (pool.has_fallback_limit()) {
      const std::size_t before = found_.size();
      in_range(at + ".fallback_limit", pool.fallback_limit(), 1, kMost);
      const int max = pool.has_max() ? pool.max() : defaults.max;
      if (found_.size() == before && max > 0 && pool.fallback_limit() > max) {
        report(at + ".fallback_limit",
               cat(pool.fallback_limit(), " is above max (", max, pool.has_max() ? ")" : ", the default)"));
      }
    }
    if (pool.has_queue()) queue(at + ".queue", pool.queue());
    if (!pool.has_sizing()) return;
    const v1::Sizing& sizing = pool.sizing();
    if (sizing.has_headroom()) in_range(at + ".sizing.headroom", sizing.headroom(), 1.0, 10.0);
    duration(at + ".sizing.reaction", sizing.has_reaction(), sizing.reaction(), 0s, 0s, 60s);
  }

  void queue(const std::string& at, const v1::Queue& queue) {
    const decision::QueuePolicy defaults;
    choice(at + ".discipline", queue.discipline(), v1::QueueDiscipline_IsValid(queue.discipline()));
    if (queue.has_max()) in_range(at + ".max", queue.max(), 0, kMost);
    const std::size_t before = found_.size();
    const nanoseconds wait =
        duration(at + ".max_wait", queue.has_max_wait(), queue.max_wait(), defaults.max_wait, 1ms, 60s);
    const nanoseconds target = duration(at + ".target", queue.has_target(), queue.target(), defaults.target, 1ms, 60s);
    if (found_.size() == before && target > wait) {
      report(at + (queue.has_target() ? ".target" : ".max_wait"),
             queue.has_target()
                 ? cat(format_duration(target), " is above maxWait (", format_duration(wait),
                       queue.has_max_wait() ? ")" : ", the default)")
                 : cat(format_duration(wait), " is below target (", format_duration(target), ", the default)"));
    }
    duration(at + ".interval", queue.has_interval(), queue.interval(), defaults.interval, 1ms, 60s);
  }

  void route(const std::string& at, const v1::Route& route, const std::set<std::string>& pools) {
    const std::string& match = route.match();
    if (match.empty()) {
      report(at + ".match", "is required");
    } else if (match[0] != '/') {
      report(at + ".match", cat("\"", match, "\" does not begin with \"/\""));
    } else if (match.find('*') < match.size() - 1) {
      report(at + ".match", cat("\"", match, "\" has a \"*\" that is not at its end"));
    }
    if (!route.pool().empty() && !pools.contains(route.pool()))
      report(at + ".pool", cat("there is no pool \"", route.pool(), "\""));
    choice(at + ".priority", route.priority(), v1::Priority_IsValid(route.priority()));
    duration(at + ".deadline", route.has_deadline(), route.deadline(), 1s, 1ms, 1h);
  }

  void upstream(const std::string& at, const v1::Upstream& upstream, std::set<std::string>& hosts) {
    if (upstream.name().empty()) {
      report(at + ".name", "is required");
    } else if (upstream.name() == "other") {
      report(at + ".name", "\"other\" is taken: it counts the calls that match no upstream");
    } else if (!name_is_made_of(upstream.name(), "-_", true)) {
      report(at + ".name", "must be 1 to 63 characters of a-z, A-Z, 0-9, \"-\" and \"_\"");
    }
    if (upstream.match().hosts().empty()) report(at + ".match.hosts", "is required: at least one host");
    for (int i = 0; i < upstream.match().hosts_size(); ++i) {
      const std::string& host = upstream.match().hosts(i);
      const std::string field = cat(at, ".match.hosts[", i, "]");
      if (!is_host(host)) {
        report(field, cat("\"", host, "\" is not \"host\" or \"host:port\""));
      } else if (!hosts.insert(lower_case(host)).second) {
        report(field, cat("\"", host, "\" is matched already"));
      }
    }
    choice(at + ".limit.mode", upstream.limit().mode(), v1::LimitMode_IsValid(upstream.limit().mode()));
    choice(at + ".limit.knee_test", upstream.limit().knee_test(), v1::KneeTest_IsValid(upstream.limit().knee_test()));
    const decision::LimitPolicy limit;
    bounds(at + ".limit", upstream.limit(), limit.min, limit.max);
    if (upstream.has_breaker()) breaker(at + ".breaker", upstream.breaker());
    duration(at + ".timeout", upstream.has_timeout(), upstream.timeout(), 30s, 1ms, 1h);
    if (upstream.has_retry_budget()) in_range(at + ".retry_budget", upstream.retry_budget(), 0.0, 1.0);
    choice(at + ".refusal_error", upstream.refusal_error(), v1::RefusalError_IsValid(upstream.refusal_error()));
    if (upstream.has_memory_share()) in_range(at + ".memory_share", upstream.memory_share(), 0.01, 1.0);
  }

  void breaker(const std::string& at, const v1::Breaker& breaker) {
    if (breaker.has_slow_call()) {
      const v1::SlowCall& slow = breaker.slow_call();
      if (!slow.has_over()) report(at + ".slow_call.over", "is required");
      duration(at + ".slow_call.over", slow.has_over(), slow.over(), 1s, 1ms, 1h);
      if (slow.has_ratio()) in_range(at + ".slow_call.ratio", slow.ratio(), 0.01, 1.0);
    }
    if (breaker.has_error_ratio()) in_range(at + ".error_ratio", breaker.error_ratio(), 0.01, 1.0);
    if (breaker.has_min_calls()) in_range(at + ".min_calls", breaker.min_calls(), 1, 100'000);
    duration(at + ".window", breaker.has_window(), breaker.window(), 10s, 1s, 10min);
    duration(at + ".open", breaker.has_open(), breaker.open(), 2s, 100ms, 10min);
    if (breaker.has_probes()) in_range(at + ".probes", breaker.probes(), 1, 100);
  }

  const v1::Policy& policy_;
  std::vector<errors::Violation> found_;
};

}  // namespace

std::vector<errors::Violation> validate(const v1::Policy& policy) { return Validation(policy).run(); }

absl::Status check(const v1::Policy& policy) {
  auto violations = validate(policy);
  if (violations.empty()) return absl::OkStatus();
  return errors::to_absl(errors::policy_invalid(std::move(violations)));
}

}  // namespace penstock::policy
