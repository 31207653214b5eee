#include "policy/convert.h"

#include <google/protobuf/duration.pb.h>
#include <google/protobuf/timestamp.pb.h>
#include <gtest/gtest.h>

#include "policy/yaml.h"
#include "tests/unit/policy/sample.h"

namespace penstock::policy {
namespace {

using namespace std::chrono_literals;

TEST(Convert, FillsInTheDefaultsThatTheProtoDocuments) {
  v1::Policy policy;
  policy.mutable_metadata()->set_name("a");
  policy.mutable_metadata()->set_revision(3);
  policy.mutable_spec()->set_service("shop");
  policy.mutable_spec()->add_pools()->set_name("slow");
  policy.mutable_spec()->add_routes()->set_match("/");
  auto* upstream = policy.mutable_spec()->add_upstreams();
  upstream->set_name("b");
  upstream->mutable_match()->add_hosts("B.Example.com:80");
  upstream->mutable_breaker()->mutable_slow_call()->mutable_over()->set_seconds(3);

  const auto result = to_decision(policy);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->revision, 3);
  EXPECT_FALSE(result->shadow);
  ASSERT_EQ(result->pools.size(), 2u);
  EXPECT_EQ(result->pools[0], decision::PoolPolicy{});
  EXPECT_EQ(result->pools[1].name, "slow");
  EXPECT_EQ(result->pools[1].min, 64);
  EXPECT_EQ(result->pools[1].max, 20000);
  EXPECT_EQ(result->pools[1].memory_bytes, std::int64_t{1} << 30);
  EXPECT_EQ(result->pools[1].queue, (decision::QueuePolicy{decision::QueueDiscipline::codel, 2000, 1s, 50ms, 500ms}));
  EXPECT_EQ(result->pools[1].sizing, (decision::SizingPolicy{2.0, 10s}));
  EXPECT_EQ(result->pools[1].fallback_limit, std::nullopt);
  EXPECT_EQ(result->routes[0], (decision::RoutePolicy{"/", "default", decision::Priority::normal, std::nullopt}));
  const decision::UpstreamPolicy& b = result->upstreams[0];
  EXPECT_EQ(b.hosts, std::vector<std::string>{"b.example.com:80"});
  EXPECT_EQ(b.limit, (decision::LimitPolicy{decision::LimitMode::adaptive, 4, 5000}));
  EXPECT_EQ(b.breaker, (decision::BreakerPolicy{decision::SlowCallRule{3s, 0.6}, std::nullopt, 20, 10s, 2s, 3, true}));
  EXPECT_EQ(b.timeout, 30s);
  EXPECT_EQ(b.retry_budget, 0.1);
  EXPECT_EQ(b.memory_share, 0.85);
  EXPECT_TRUE(b.hedge);
}

TEST(Convert, TakesEveryFieldThatIsSet) {
  const auto result = to_decision(parse_yaml(kShop, "f")->front());
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_TRUE(result->shadow);
  ASSERT_EQ(result->pools.size(), 1u);
  EXPECT_EQ(result->pools[0].queue.discipline, decision::QueueDiscipline::newest_first);
  EXPECT_EQ(result->pools[0].fallback_limit, 500);
  EXPECT_EQ(result->pools[0].sizing.headroom, 2.5);
  EXPECT_EQ(result->routes[0].priority, decision::Priority::critical);
  EXPECT_EQ(result->routes[0].deadline, 8s);
  EXPECT_EQ(result->upstreams[0].limit.knee_test, decision::KneeTest::observe);
  EXPECT_EQ(result->upstreams[0].refusal_error, decision::RefusalError::host_unreachable);
  EXPECT_EQ(result->guards.memory_bytes, 512 << 20);
  EXPECT_EQ(result->guards.memory, decision::GuardMode::observe);
  EXPECT_EQ(result->guards.cpu, decision::GuardMode::off);
  EXPECT_EQ(result->upstreams[0].breaker.error_ratio, 0.5);
  EXPECT_EQ(result->upstreams[0].breaker.open, 5s);
  EXPECT_FALSE(result->upstreams[0].breaker.usefulness);
  EXPECT_EQ(result->upstreams[0].timeout, 5s);
  EXPECT_FALSE(result->upstreams[0].hedge);
}

TEST(Convert, ZeroThatIsSetIsNoDefault) {
  v1::Policy policy = parse_yaml(kShop, "f")->front();
  policy.mutable_spec()->mutable_pools(0)->mutable_queue()->set_max(0);
  policy.mutable_spec()->mutable_upstreams(0)->set_retry_budget(0);
  const auto result = to_decision(policy);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->pools[0].queue.max, 0);
  EXPECT_EQ(result->upstreams[0].retry_budget, 0);
}

TEST(Convert, RefusesWhatIsInvalid) {
  const auto error = errors::from_absl(to_decision(v1::Policy()).status());
  ASSERT_TRUE(error);
  EXPECT_EQ(error->reason, errors::Reason::policy_invalid);
}

TEST(Convert, DurationsAndTimesSurvive) {
  for (const std::chrono::nanoseconds value : {0ns, 1ns, -1ns, -1'500'000'000ns, 90'000'000'001ns})
    EXPECT_EQ(to_chrono(to_proto(value)), value);
  google::protobuf::Duration longest;
  longest.set_seconds(315'576'000'000);
  EXPECT_EQ(to_chrono(longest), std::chrono::nanoseconds::max());
  const auto before_1970 = std::chrono::system_clock::time_point(-1'500'000'000ns);
  EXPECT_GE(to_proto(before_1970).nanos(), 0);
  EXPECT_EQ(to_chrono(to_proto(before_1970)), before_1970);
}

}  // namespace
}  // namespace penstock::policy
