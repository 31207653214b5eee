#include "policy/validate.h"

#include <gmock/gmock.h>
#include <google/protobuf/text_format.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>

#include "penstock/v1/policy.pb.h"

namespace penstock::policy {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// What is wrong with a valid policy when `text` is merged into it.
std::vector<std::string> violations(const std::string& text) {
  v1::Policy policy;
  policy.mutable_metadata()->set_name("shop");
  policy.mutable_spec()->set_service("shop");
  EXPECT_TRUE(google::protobuf::TextFormat::MergeFromString(text, &policy)) << text;
  std::vector<std::string> lines;
  for (const auto& violation : validate(policy)) lines.push_back(violation.field + ": " + violation.message);
  return lines;
}
std::vector<std::string> pool(const std::string& text) {
  return violations("spec { pools { name: 'p' " + text + " } }");
}
std::vector<std::string> queue(const std::string& text) { return pool("queue { " + text + " }"); }
std::vector<std::string> upstream(const std::string& text) {
  return violations("spec { upstreams { name: 'a' match { hosts: 'a' } " + text + " } }");
}
std::vector<std::string> breaker(const std::string& text) { return upstream("breaker { " + text + " }"); }

TEST(Validate, TheLeastPolicyIsValid) { EXPECT_THAT(violations(""), IsEmpty()); }

TEST(Validate, RequiredFields) {
  std::vector<std::string> fields;
  for (const auto& violation : validate(v1::Policy())) fields.push_back(violation.field + " " + violation.message);
  EXPECT_THAT(fields, ElementsAre("metadata.name is required", "spec is required"));
  EXPECT_THAT(violations("spec { service: '' }"), ElementsAre("spec.service: is required"));
  EXPECT_THAT(violations("spec { pools {} routes {} upstreams {} }"),
              ElementsAre("spec.pools[0].name: is required", "spec.routes[0].match: is required",
                          "spec.upstreams[0].name: is required",
                          "spec.upstreams[0].match.hosts: is required: at least one host"));
  EXPECT_THAT(breaker("slow_call {}"), ElementsAre("spec.upstreams[0].breaker.slow_call.over: is required"));
}

TEST(Validate, Names) {
  for (const char* name : {"Shop", "1shop", "-shop", "shop_a", "a b", "shöp"})
    EXPECT_THAT(violations(std::string("metadata { name: '") + name + "' }"), ElementsAre(testing::_)) << name;
  EXPECT_THAT(violations("metadata { name: '" + std::string(63, 'a') + "' }"), IsEmpty());
  EXPECT_THAT(violations("metadata { name: '" + std::string(64, 'a') + "' }"), ElementsAre(testing::_));
  EXPECT_THAT(violations("spec { pools { name: '0_a-b' } upstreams { name: 'A_b-1' match { hosts: 'h' } } }"),
              IsEmpty());
  EXPECT_THAT(violations("spec { pools { name: 'Web' } }"), ElementsAre(testing::_));
  EXPECT_THAT(violations("spec { upstreams { name: 'a.b' match { hosts: 'h' } } }"), ElementsAre(testing::_));
  EXPECT_THAT(violations("spec { upstreams { name: 'other' match { hosts: 'h' } } }"), ElementsAre(testing::_));
}

TEST(Validate, DuplicatesAreNamedAtTheSecond) {
  EXPECT_THAT(violations("spec { pools { name: 'p' } pools { name: 'p' } }"),
              ElementsAre("spec.pools[1].name: \"p\" is taken already"));
  EXPECT_THAT(
      violations("spec { upstreams { name: 'a' match { hosts: 'x' } } upstreams { name: 'a' match { hosts: 'X' } } }"),
      ElementsAre("spec.upstreams[1].match.hosts[0]: \"X\" is matched already",
                  "spec.upstreams[1].name: \"a\" is taken already"));
}

TEST(Validate, RoutesReferToPoolsThatExist) {
  EXPECT_THAT(violations("spec { routes { match: '/' pool: 'default' } routes { match: '/a' } }"), IsEmpty());
  EXPECT_THAT(violations("spec { routes { match: '/' pool: 'p' } pools { name: 'p' } }"), IsEmpty());
  EXPECT_THAT(violations("spec { routes { match: '/' pool: 'q' } pools { name: 'p' } }"),
              ElementsAre("spec.routes[0].pool: there is no pool \"q\""));
}

TEST(Validate, RoutePatterns) {
  for (const char* match : {"/", "/*", "/a/b", "/a*"})
    EXPECT_THAT(violations(std::string("spec { routes { match: '") + match + "' } }"), IsEmpty()) << match;
  for (const char* match : {"a", "*", "/*/a", "/a**"})
    EXPECT_THAT(violations(std::string("spec { routes { match: '") + match + "' } }"), ElementsAre(testing::_))
        << match;
}

TEST(Validate, RouteDeadlines) {
  const auto deadline = [](const std::string& value) {
    return violations("spec { routes { match: '/' deadline { " + value + " } } }");
  };
  EXPECT_THAT(deadline("seconds: 3600"), IsEmpty());
  EXPECT_THAT(deadline("nanos: 1000000"), IsEmpty());
  EXPECT_THAT(deadline("nanos: 999999"), ElementsAre("spec.routes[0].deadline: 999.999us is out of range (1ms to 1h)"));
  EXPECT_THAT(deadline("seconds: 3601"), ElementsAre("spec.routes[0].deadline: 3601s is out of range (1ms to 1h)"));
  EXPECT_THAT(deadline(""), ElementsAre("spec.routes[0].deadline: 0s is out of range (1ms to 1h)"));
  EXPECT_THAT(deadline("seconds: -1"), ElementsAre(testing::_));
  EXPECT_THAT(deadline("seconds: 1 nanos: -5"), ElementsAre(testing::HasSubstr("contradict")));
}

TEST(Validate, PoolBounds) {
  EXPECT_THAT(pool("min: 1 max: 1000000"), IsEmpty());
  EXPECT_THAT(pool("min: 0"), ElementsAre("spec.pools[0].min: 0 is out of range (1 to 1000000)"));
  EXPECT_THAT(pool("max: 1000001"), ElementsAre("spec.pools[0].max: 1000001 is out of range (1 to 1000000)"));
  EXPECT_THAT(pool("min: 10 max: 9"), ElementsAre("spec.pools[0].max: 9 is below min (10)"));
  EXPECT_THAT(pool("max: 10"), ElementsAre("spec.pools[0].max: 10 is below min (64, the default)"));
  EXPECT_THAT(pool("min: 30000"), ElementsAre("spec.pools[0].min: 30000 is above max (20000, the default)"));
  EXPECT_THAT(pool("memory_bytes: 1048576"), IsEmpty());
  EXPECT_THAT(pool("memory_bytes: 1048575"), ElementsAre(testing::_));
  EXPECT_THAT(pool("fallback_limit: 0"), ElementsAre(testing::_));
  EXPECT_THAT(pool("max: 100 fallback_limit: 100"), IsEmpty());
  EXPECT_THAT(pool("max: 100 fallback_limit: 101"),
              ElementsAre("spec.pools[0].fallback_limit: 101 is above max (100)"));
  EXPECT_THAT(pool("fallback_limit: 20001"),
              ElementsAre("spec.pools[0].fallback_limit: 20001 is above max (20000, the default)"));
  EXPECT_THAT(pool("sizing { headroom: 1 reaction { seconds: 60 } }"), IsEmpty());
  EXPECT_THAT(pool("sizing { headroom: 0.9 reaction { seconds: 61 } }"),
              ElementsAre("spec.pools[0].sizing.headroom: 0.9 is out of range (1 to 10)",
                          "spec.pools[0].sizing.reaction: 61s is out of range (0s to 1m)"));
  EXPECT_THAT(pool("sizing { headroom: nan }"), ElementsAre(testing::_));
}

TEST(Validate, Queues) {
  EXPECT_THAT(queue("max: 0 max_wait { seconds: 60 } target { seconds: 60 } interval { seconds: 60 }"), IsEmpty());
  EXPECT_THAT(queue("max: -1"), ElementsAre(testing::_));
  EXPECT_THAT(queue("max_wait { seconds: 61 }"), ElementsAre(testing::_));
  EXPECT_THAT(queue("interval { }"), ElementsAre(testing::_));
  EXPECT_THAT(queue("discipline: 77"), ElementsAre("spec.pools[0].queue.discipline: 77 is no known value"));
  EXPECT_THAT(queue("target { seconds: 2 } max_wait { seconds: 1 }"),
              ElementsAre("spec.pools[0].queue.target: 2s is above maxWait (1s)"));
  EXPECT_THAT(queue("target { seconds: 2 }"),
              ElementsAre("spec.pools[0].queue.target: 2s is above maxWait (1s, the default)"));
  EXPECT_THAT(queue("max_wait { nanos: 20000000 }"),
              ElementsAre("spec.pools[0].queue.max_wait: 20ms is below target (50ms, the default)"));
}

TEST(Validate, Upstreams) {
  EXPECT_THAT(upstream("limit { min: 1 max: 1 } timeout { seconds: 3600 } retry_budget: 0 memory_share: 1"), IsEmpty());
  EXPECT_THAT(upstream("limit { max: 3 }"),
              ElementsAre("spec.upstreams[0].limit.max: 3 is below min (4, the default)"));
  EXPECT_THAT(upstream("limit { mode: 9 }"), ElementsAre(testing::_));
  EXPECT_THAT(upstream("limit { knee_test: 9 }"),
              ElementsAre("spec.upstreams[0].limit.knee_test: 9 is no known value"));
  EXPECT_THAT(upstream("refusal_error: 9"), ElementsAre("spec.upstreams[0].refusal_error: 9 is no known value"));
  EXPECT_THAT(upstream("timeout { }"), ElementsAre(testing::_));
  EXPECT_THAT(upstream("retry_budget: 1.1"),
              ElementsAre("spec.upstreams[0].retry_budget: 1.1 is out of range (0 to 1)"));
  EXPECT_THAT(upstream("memory_share: 0"), ElementsAre(testing::_));
}

TEST(Validate, Breakers) {
  EXPECT_THAT(
      breaker("slow_call { over { seconds: 3 } ratio: 1 } error_ratio: 0.01 min_calls: 1 window { seconds: 600 } "
              "open { nanos: 100000000 } probes: 100"),
      IsEmpty());
  EXPECT_THAT(breaker("slow_call { over { seconds: 3601 } ratio: 0 }"), testing::SizeIs(2));
  EXPECT_THAT(breaker("error_ratio: 0"), ElementsAre(testing::_));
  EXPECT_THAT(breaker("min_calls: 0"), ElementsAre(testing::_));
  EXPECT_THAT(breaker("min_calls: 100001"), ElementsAre(testing::_));
  EXPECT_THAT(breaker("window { nanos: 5 }"), ElementsAre(testing::_));
  EXPECT_THAT(breaker("open { seconds: 601 }"), ElementsAre(testing::_));
  EXPECT_THAT(breaker("probes: 0"), ElementsAre(testing::_));
}

TEST(Validate, Tenants) {
  const auto fields = [](const std::string& text) {
    std::vector<std::string> fields;
    for (const std::string& line : violations(text)) fields.push_back(line.substr(0, line.find(": ")));
    return fields;
  };
  const auto tenants = [&](const std::string& text) { return fields("spec { tenants { " + text + " } }"); };
  EXPECT_THAT(tenants("header: 'X-Tenant' others: 2 named { name: 'gold' weight: 3 } named { name: 'Acme GmbH' }"),
              ElementsAre("spec.tenants.named[1].name"));
  EXPECT_THAT(tenants("header: 'X-Tenant' others: 2 named { name: 'gold' weight: 3 } named { name: 'a:b/1' }"),
              IsEmpty());
  EXPECT_THAT(tenants("header: 'x tenant'"), ElementsAre("spec.tenants.header"));
  EXPECT_THAT(tenants("others: 0"), ElementsAre("spec.tenants.others"));
  EXPECT_THAT(tenants("named { name: 'a' weight: 10001 } named { name: 'a' } named { name: 'others' } named { }"),
              testing::UnorderedElementsAre("spec.tenants.named[0].weight", "spec.tenants.named[1].name",
                                            "spec.tenants.named[2].name", "spec.tenants.named[3].name"));
  std::string many;
  for (int i = 0; i < 63; ++i) many += "named { name: 't" + std::to_string(i) + "' } ";
  EXPECT_THAT(tenants(many), IsEmpty());
  EXPECT_THAT(tenants(many + "named { name: 'one more' }"), testing::Contains("spec.tenants.named"));
  EXPECT_THAT(fields("spec { tenants { named { name: 'gold' } } routes { match: '/' tenant: 'gold' } "
                     "routes { match: '/a' tenant: 'silver' } }"),
              ElementsAre("spec.routes[1].tenant"));
}

TEST(Validate, Hosts) {
  for (const char* host : {"a", "pay.example.com", "127.0.0.1:80", "[::1]", "[::1]:443", "a_b-c:65535"})
    EXPECT_THAT(violations(std::string("spec { upstreams { name: 'a' match { hosts: '") + host + "' } } }"), IsEmpty())
        << host;
  for (const char* host : {"", ":80", "a:", "a:0", "a:65536", "a:b", "http://a", "a/b", "a b", "::1", "[::1", "[::1]x",
                           "[::1]1", "[]", "a:+8"})
    EXPECT_THAT(violations(std::string("spec { upstreams { name: 'a' match { hosts: '") + host + "' } } }"),
                ElementsAre(testing::_))
        << host;
}

}  // namespace
}  // namespace penstock::policy
