#include "runtime/policy_rules.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <stdexcept>
#include <string>

namespace penstock {
namespace {

using namespace std::chrono_literals;

decision::Policy good() {
  decision::Policy policy;
  policy.pools.push_back({.name = "batch"});
  policy.routes.push_back({.match = "/batch/*", .pool = "batch", .deadline = 8s});
  decision::UpstreamPolicy payments;
  payments.name = "payments";
  payments.hosts = {"pay.example.com", "pay.example.com:8443"};
  payments.breaker.slow_call = decision::SlowCallRule{.over = 3s};
  policy.upstreams.push_back(payments);
  return policy;
}

TEST(PolicyRules, AUsablePolicyPasses) {
  EXPECT_NO_THROW(check_policy({}));
  EXPECT_NO_THROW(check_policy(good()));
}

TEST(PolicyRules, AFaultIsNamedByItsField) {
  const std::pair<const char*, std::function<void(decision::Policy&)>> faults[] = {
      {"spec.pools[0].name", [](auto& p) { p.pools[0].name = "Upper"; }},
      {"spec.pools[1].name", [](auto& p) { p.pools.push_back(p.pools[0]); }},
      {"spec.pools[0].min", [](auto& p) { p.pools[0].min = 0; }},
      {"spec.pools[0].max", [](auto& p) { p.pools[0].max = p.pools[0].min - 1; }},
      {"spec.pools[0].memory", [](auto& p) { p.pools[0].memory_bytes = 1000; }},
      {"spec.pools[0].fallbackLimit", [](auto& p) { p.pools[0].fallback_limit = 0; }},
      {"spec.pools[0].queue.max", [](auto& p) { p.pools[0].queue.max = -1; }},
      {"spec.pools[0].queue.target", [](auto& p) { p.pools[0].queue.target = 2s; }},
      {"spec.routes[0].match", [](auto& p) { p.routes[0].match = "batch"; }},
      {"spec.routes[0].pool", [](auto& p) { p.routes[0].pool = "nowhere"; }},
      {"spec.routes[0].deadline", [](auto& p) { p.routes[0].deadline = 0s; }},
      {"spec.upstreams[0].name", [](auto& p) { p.upstreams[0].name = "other"; }},
      {"spec.upstreams[1].name", [](auto& p) { p.upstreams.push_back(p.upstreams[0]); }},
      {"spec.upstreams[0].match.hosts", [](auto& p) { p.upstreams[0].hosts.clear(); }},
      {"spec.upstreams[0].match.hosts[1]", [](auto& p) { p.upstreams[0].hosts[1] = "Pay.example.com"; }},
      {"spec.upstreams[0].match.hosts[1]", [](auto& p) { p.upstreams[0].hosts[1] = p.upstreams[0].hosts[0]; }},
      {"spec.upstreams[0].limit.max", [](auto& p) { p.upstreams[0].limit.max = 1; }},
      {"spec.upstreams[0].timeout", [](auto& p) { p.upstreams[0].timeout = 0s; }},
      {"spec.upstreams[0].retryBudget", [](auto& p) { p.upstreams[0].retry_budget = 1.5; }},
      {"spec.upstreams[0].memoryShare", [](auto& p) { p.upstreams[0].memory_share = 0; }},
      {"spec.upstreams[0].breaker.slowCall.over", [](auto& p) { p.upstreams[0].breaker.slow_call->over = 0s; }},
      {"spec.upstreams[0].breaker.errorRatio", [](auto& p) { p.upstreams[0].breaker.error_ratio = 0; }},
      {"spec.upstreams[0].breaker.window", [](auto& p) { p.upstreams[0].breaker.window = 1ms; }},
      {"spec.upstreams[0].breaker.probes", [](auto& p) { p.upstreams[0].breaker.probes = 0; }},
  };
  for (const auto& [field, spoil] : faults) {
    decision::Policy policy = good();
    spoil(policy);
    try {
      check_policy(policy);
      ADD_FAILURE() << field << " passed";
    } catch (const std::invalid_argument& refused) {
      EXPECT_THAT(refused.what(), testing::StartsWith(std::string(field) + ": "));
    }
  }
}

}  // namespace
}  // namespace penstock
