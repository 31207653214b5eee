#include "runtime/registry.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <spdlog/sinks/ostream_sink.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "penstock/decision/pool_sizing.h"
#include "runtime/telemetry/process_metrics.h"
#include "tests/unit/runtime/eventually.h"
#include "tests/unit/runtime/fiber/threads.h"
#include "tests/unit/runtime/promtool.h"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using decision::BreakerForce;
using decision::BreakerState;
using fiber::Threads;
using testing::HasSubstr;

Instant now() { return std::chrono::steady_clock::now(); }

decision::Policy shop() {
  decision::Policy policy;
  policy.name = "shop";
  policy.revision = 7;
  policy.pools.push_back({.name = "default", .min = 1, .max = 500});
  policy.pools.push_back({.name = "batch", .min = 1, .max = 10});
  policy.routes.push_back({.match = "/batch/*", .pool = "batch", .priority = decision::Priority::low});
  policy.routes.push_back({.match = "/checkout", .priority = decision::Priority::critical, .deadline = 7s});
  decision::UpstreamPolicy payments;
  payments.name = "payments";
  payments.hosts = {"pay.example.com", "127.0.0.1:7001"};
  payments.limit.max = 40;
  decision::UpstreamPolicy loopback;
  loopback.name = "loopback";
  loopback.hosts = {"127.0.0.1"};
  loopback.breaker.slow_call = decision::SlowCallRule{.over = 3s};
  policy.upstreams = {payments, loopback};
  return policy;
}

TEST(Registry, HasADefaultPoolAndUpstreamOtherBeforeAnyPolicy) {
  MetricsRegistry metrics;
  Registry registry(metrics);
  const RouteDecision route = registry.route("/any");
  EXPECT_EQ(route.pool, &registry.pool("default"));
  EXPECT_EQ(route.priority, decision::Priority::normal);
  EXPECT_FALSE(route.deadline);
  EXPECT_EQ(route.pool->limit(), decision::fallback_limit(decision::PoolPolicy(), 32 * 1024));
  EXPECT_EQ(registry.match_upstream("pay.example.com", 443).name(), "other");
  EXPECT_EQ(registry.find_upstream("payments"), nullptr);
}

TEST(Registry, AShadowPolicyClassifiesButEndsNoRequest) {
  MetricsRegistry metrics;
  Registry registry(metrics);
  decision::Policy policy = shop();
  policy.shadow = true;
  registry.apply(policy);
  EXPECT_EQ(registry.route("/checkout").priority, decision::Priority::critical);
  EXPECT_FALSE(registry.route("/checkout").deadline);
}

TEST(Registry, ClassifiesRequestsByTheFirstRouteThatMatches) {
  MetricsRegistry metrics;
  Registry registry(metrics);
  registry.apply(shop());
  EXPECT_EQ(registry.route("/batch/1").pool, &registry.pool("batch"));
  EXPECT_EQ(registry.route("/batch/1").priority, decision::Priority::low);
  EXPECT_EQ(registry.route("/checkout").priority, decision::Priority::critical);
  EXPECT_EQ(registry.route("/checkout").deadline, Duration(7s));
  EXPECT_EQ(registry.route("/checkout/more").priority, decision::Priority::normal);
  EXPECT_EQ(registry.pool("batch").limit(), 10);
}

TEST(Registry, AHostWithItsPortCountsBeforeTheHost) {
  MetricsRegistry metrics;
  Registry registry(metrics);
  registry.apply(shop());
  EXPECT_EQ(registry.match_upstream("127.0.0.1", 7001).name(), "payments");
  EXPECT_EQ(registry.match_upstream("127.0.0.1", 7002).name(), "loopback");
  EXPECT_EQ(registry.match_upstream("PAY.Example.com", 443).name(), "payments");
  EXPECT_EQ(registry.match_upstream("example.com", 443).name(), "other");
}

TEST(Registry, AnUnusablePolicyChangesNothing) {
  MetricsRegistry metrics;
  Registry registry(metrics);
  registry.apply(shop());
  decision::Policy broken = shop();
  broken.pools[1].max = 20;
  broken.upstreams[1].timeout = 0s;
  EXPECT_THROW(registry.apply(broken), std::invalid_argument);
  EXPECT_EQ(registry.policy(), shop());
  EXPECT_EQ(registry.pool("batch").limit(), 10);
}

TEST(Registry, WhatAPolicyNoLongerNamesStaysWhereItIsWithDefaults) {
  MetricsRegistry metrics;
  Registry registry(metrics);
  registry.apply(shop());
  Pool& batch = registry.pool("batch");
  Upstream& payments = *registry.find_upstream("payments");
  registry.apply({});
  EXPECT_EQ(&registry.pool("batch"), &batch);
  EXPECT_EQ(batch.limit(), decision::PoolPolicy().max);
  EXPECT_EQ(registry.find_upstream("payments"), nullptr);
  EXPECT_EQ(payments.limit(), decision::LimitPolicy().max);
  registry.apply(shop());
  EXPECT_EQ(registry.find_upstream("payments"), &payments);
  EXPECT_EQ(payments.limit(), 40);
}

TEST(Registry, ALeaseHoldsUntilItIsReleased) {
  MetricsRegistry metrics;
  Registry registry(metrics);
  registry.apply(shop());
  registry.set_pool_limit("batch", 4);
  registry.set_upstream_limit("payments", 12);
  registry.set_breaker("loopback", BreakerForce::open, "maintenance");
  registry.tick(now());
  EXPECT_EQ(registry.pool("batch").limit(), 4);
  EXPECT_EQ(registry.find_upstream("payments")->limit(), 12);
  EXPECT_EQ(registry.find_upstream("loopback")->breaker(), BreakerState::open);
  registry.apply(shop());
  EXPECT_EQ(registry.pool("batch").limit(), 4);
  registry.release_lease();
  EXPECT_EQ(registry.pool("batch").limit(), 10);
  EXPECT_EQ(registry.find_upstream("payments")->limit(), 40);
  EXPECT_THROW(registry.set_pool_limit("nowhere", 4), std::invalid_argument);
  EXPECT_THROW(registry.set_upstream_limit("nowhere", 4), std::invalid_argument);
  EXPECT_THROW(registry.set_upstream_limit("other", 4), std::invalid_argument);
}

TEST(Registry, TransitionsOfBreakersAreHandedOutOnceAndCounted) {
  MetricsRegistry metrics;
  Registry registry(metrics);
  registry.apply(shop());
  registry.set_breaker("payments", BreakerForce::open, "maintenance");
  const auto events = registry.take_breaker_events();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].upstream, "payments");
  EXPECT_EQ(events[0].transition.to, BreakerState::open);
  EXPECT_EQ(events[0].transition.reason, "forced");
  EXPECT_THAT(events[0].transition.message, HasSubstr("maintenance"));
  EXPECT_TRUE(registry.take_breaker_events().empty());
  const std::string text = metrics.text();
  EXPECT_THAT(text, HasSubstr("penstock_breaker_transitions_total{from=\"closed\",reason=\"forced\",to=\"open\","
                              "upstream=\"payments\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("penstock_breaker_state{state=\"open\",upstream=\"payments\"} 1\n"));
  EXPECT_THAT(text, HasSubstr("penstock_breaker_state{state=\"closed\",upstream=\"payments\"} 0\n"));
  EXPECT_THAT(text, HasSubstr("penstock_upstream_limit{upstream=\"payments\"} 40\n"));
  EXPECT_THAT(text, HasSubstr("penstock_pool_limit{pool=\"batch\"} 10\n"));
}

TEST(Registry, ATransitionIsOneLineOfTheLogWhateverTheReasonSays) {
  std::ostringstream log;
  const auto previous = spdlog::default_logger();
  spdlog::set_default_logger(
      std::make_shared<spdlog::logger>("test", std::make_shared<spdlog::sinks::ostream_sink_mt>(log)));
  spdlog::set_pattern("%v");
  MetricsRegistry metrics;
  Registry registry(metrics);
  registry.apply(shop());
  registry.set_breaker("payments", BreakerForce::open, "say \"no\"\nall is well");
  spdlog::set_default_logger(previous);
  const std::string line = log.str();
  EXPECT_EQ(line.substr(line.find(",\"event\"")),
            ",\"event\":\"decision\",\"kind\":\"upstream\",\"name\":\"payments\",\"action\":\"trip\","
            "\"reason\":\"forced\",\"message\":\"say \\\"no\\\"\\nall is well\"}\n");
  EXPECT_EQ(line.find("{\"time\":\"20"), 0u);
}

TEST(Registry, PromtoolFindsNothingToSayOnItsMetrics) {
  if (!promtool_installed()) GTEST_SKIP() << "promtool is not installed";
  MetricsRegistry metrics;
  Registry registry(metrics);
  registry.apply(shop());
  registry.set_breaker("payments", BreakerForce::open, "maintenance");
  Threads threads;
  threads.run([&] {
    Pool::Permit permit = registry.pool("batch").acquire();
    registry.match_upstream("elsewhere", 80).call([] {});
  });
  EXPECT_EQ(promtool_says(metrics.text()), "");
}

TEST(Registry, HistogramsOfUpstreamsHaveAnEdgeAtThresholdsOfThePolicy) {
  MetricsRegistry metrics;
  Registry registry(metrics);
  registry.apply(shop());
  EXPECT_THAT(metrics.histogram("penstock_upstream_request_duration_seconds", "", {{"upstream", "loopback"}}).edges(),
              testing::IsSupersetOf({3.0, 7.0, 30.0}));
}

TEST(Registry, WhatIsBusyInOneUpstreamLeavesLessMemoryForAnother) {
  MetricsRegistry metrics;
  Registry registry(metrics);
  decision::Policy policy = shop();
  // 64 requests at the assumed 32 KiB.
  policy.pools = {{.name = "default", .min = 1, .memory_bytes = 2 << 20}};
  policy.routes.clear();
  policy.upstreams[0].limit.max = 5000;
  policy.upstreams[0].memory_share = 0.5;
  registry.apply(policy);
  Threads threads;
  threads.run([&] {
    registry.tick(now());
    EXPECT_EQ(registry.find_upstream("payments")->limit(), 32);
    std::vector<Upstream::Call> calls;
    for (int i = 0; i < 32; ++i) calls.push_back(registry.find_upstream("loopback")->begin());
    registry.tick(now());
    EXPECT_EQ(registry.find_upstream("payments")->limit(), 16);
    for (auto& call : calls) call.finish(CallOutcome::ok);
    registry.tick(now());
    EXPECT_EQ(registry.find_upstream("payments")->limit(), 32);
  });
}

TEST(Registry, MemoryThatIsTakenAllOfASuddenIsNoticedWithinHalfASecond) {
  MetricsRegistry metrics;
  Registry registry(metrics);
  decision::Policy policy = shop();
  const auto resident = static_cast<std::int64_t>(telemetry::resident_bytes());
  policy.guards.memory_bytes = 4 * resident;
  registry.apply(policy);
  const auto sheds = [&] {
    return std::ranges::any_of(registry.take_decisions(), [](const NodeDecision& decision) {
      return decision.action == "shed" && decision.reason == "memory";
    });
  };
  Threads threads;
  threads.run([&] {
    Instant at = now();
    registry.tick(at);
    std::vector<Pool::Permit> requests;
    for (int i = 0; i < 40; ++i) requests.push_back(registry.pool("default").acquire());
    registry.tick(at += 100ms);
    EXPECT_FALSE(sheds());
    const std::vector<char> taken(static_cast<std::size_t>(3 * resident), 1);
    const Instant then = at;
    bool shed = false;
    while (!shed && at < then + 500ms) {
      registry.tick(at += 100ms);
      shed = sheds();
    }
    EXPECT_TRUE(shed) << telemetry::resident_bytes() << " of " << taken.size() / 3 * 4;
  });
}

TEST(Registry, TheTickerAgesCallsUntilABlackHoleIsCutOff) {
  MetricsRegistry metrics;
  Registry registry(metrics);
  decision::Policy policy = shop();
  policy.upstreams[1].breaker.slow_call = decision::SlowCallRule{.over = 50ms, .ratio = 0.5};
  policy.upstreams[1].breaker.min_calls = 5;
  registry.apply(policy);
  Threads threads;
  threads.run([&] {
    Fiber ticker = spawn("ticker", [&] { registry.run_ticker(); });
    Upstream& hole = *registry.find_upstream("loopback");
    std::vector<Fiber> calls;
    for (int i = 0; i < 20; ++i) {
      calls.push_back(spawn("call", [&] {
        DeadlineScope scope(now() + 5s);
        try {
          hole.call([] { sleep_for(1h); });
        } catch (const std::exception&) {
        }
      }));
    }
    EXPECT_TRUE(eventually([&] { return hole.breaker() == BreakerState::open; }));
    for (Fiber& call : calls) call.cancel();
    for (Fiber& call : calls) call.join();
    ticker.cancel();
    EXPECT_THROW(ticker.join(), Cancelled);
  });
}

TEST(Registry, PoliciesMayChangeWhileRequestsAreClassified) {
  MetricsRegistry metrics;
  Registry registry(metrics);
  registry.apply(shop());
  std::atomic<bool> stop{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&] {
      while (!stop) {
        EXPECT_EQ(registry.route("/batch/1").pool->name(), "batch");
        EXPECT_EQ(registry.match_upstream("127.0.0.1", 7001).name(), "payments");
      }
    });
  }
  for (int i = 0; i < 50; ++i) {
    decision::Policy policy = shop();
    policy.revision = i;
    registry.apply(policy);
    EXPECT_EQ(registry.policy().revision, i);
  }
  stop = true;
  for (std::thread& thread : threads) thread.join();
}

}  // namespace
}  // namespace penstock
