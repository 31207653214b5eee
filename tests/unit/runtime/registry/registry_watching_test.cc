#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <functional>
#include <optional>
#include <stdexcept>
#include <string>
#include <vector>

#include "penstock/fiber.h"
#include "runtime/registry.h"
#include "tests/unit/runtime/fiber/threads.h"

// A policy in SHADOW beside the one in force.
namespace penstock {
namespace {

using namespace std::chrono_literals;
using decision::BreakerState;
using fiber::Threads;
using testing::HasSubstr;

Instant now() { return std::chrono::steady_clock::now(); }

decision::UpstreamPolicy upstream(const std::string& name, const std::string& host) {
  decision::UpstreamPolicy policy;
  policy.name = name;
  policy.hosts = {host};
  policy.breaker.usefulness = false;
  return policy;
}

decision::Policy acting() {
  decision::Policy policy;
  policy.name = "shop";
  policy.upstreams = {upstream("payments", "pay.example.com")};
  return policy;
}

// Cuts an upstream off as soon as half of ten calls fail, lets two calls out at a time, for at most 10 ms each.
decision::Policy stricter() {
  decision::Policy policy = acting();
  policy.name = "shop-next";
  policy.shadow = true;
  policy.upstreams.push_back(upstream("search", "search.example.com:443"));
  for (auto& of : policy.upstreams) {
    of.breaker.error_ratio = 0.5;
    of.breaker.min_calls = 10;
    of.limit = {.mode = decision::LimitMode::fixed, .min = 1, .max = 2};
    of.timeout = 10ms;
  }
  return policy;
}

class Watched : public testing::Test {
 protected:
  Watched() { registry_.apply(acting()); }

  void fail(Upstream& upstream, int calls) {
    for (int i = 0; i < calls; ++i) upstream.begin().finish(CallOutcome::error);
    registry_.tick(now());
  }
  std::vector<NodeDecision> of_shadow() {
    std::vector<NodeDecision> taken = registry_.take_decisions();
    std::erase_if(taken, [](const NodeDecision& decision) { return decision.policy != "shop-next"; });
    return taken;
  }

  MetricsRegistry metrics_;
  Registry registry_{metrics_};
};

TEST_F(Watched, ItsBreakerOpensAndNoCallIsRefused) {
  Threads threads;
  threads.run([&] {
    registry_.apply_shadow(stricter());
    Upstream& payments = registry_.match_upstream("pay.example.com", 443);
    fail(payments, 20);
    const auto decisions = of_shadow();
    ASSERT_EQ(decisions.size(), 1u);
    EXPECT_EQ(decisions[0].kind, "upstream");
    EXPECT_EQ(decisions[0].name, "payments");
    EXPECT_EQ(decisions[0].action, "trip");
    EXPECT_TRUE(decisions[0].shadow);
    EXPECT_THAT(to_json(decisions[0]), HasSubstr(R"("shadow":true,"policy":"shop-next")"));
    EXPECT_EQ(payments.breaker(), BreakerState::closed);
    EXPECT_TRUE(registry_.take_breaker_events().empty()) << "nothing that acts has changed";
    EXPECT_NO_THROW(fail(payments, 5));
    EXPECT_THAT(registry_.explain_upstream("payments"), testing::Contains(HasSubstr("shop-next: breaker open")));
    const std::string page = metrics_.text();
    EXPECT_THAT(page, HasSubstr(R"(penstock_shadow_breaker_state{state="open",upstream="payments"} 1)"));
    EXPECT_THAT(page, HasSubstr(R"(penstock_breaker_state{state="open",upstream="payments"} 0)"));
    EXPECT_THAT(page, HasSubstr(R"(penstock_shadow_upstream_calls_total{effect="breaker",upstream="payments"} 15)"));
    EXPECT_THAT(page, HasSubstr("penstock_shadow_decisions_total{"));
  });
}

TEST_F(Watched, WhatItsLimitAndTimeOutWouldHaveHeldIsCounted) {
  Threads threads;
  threads.run([&] {
    registry_.apply_shadow(stricter());
    Upstream& payments = registry_.match_upstream("pay.example.com", 443);
    {
      std::vector<Upstream::Call> calls;
      for (int i = 0; i < 5; ++i) calls.push_back(payments.begin());
      sleep_for(15ms);
      for (auto& call : calls) call.finish(CallOutcome::ok);
    }
    registry_.tick(now());
    const std::string page = metrics_.text();
    EXPECT_THAT(page, HasSubstr(R"(penstock_shadow_upstream_limit{upstream="payments"} 2)"));
    EXPECT_THAT(page, HasSubstr(R"(penstock_shadow_upstream_calls_total{effect="limit",upstream="payments"} 3)"));
    EXPECT_THAT(page, HasSubstr(R"(penstock_shadow_upstream_calls_total{effect="timeout",upstream="payments"} 5)"));
  });
}

TEST_F(Watched, WhatOnlyItNamesIsWatchedAndNotBound) {
  Threads threads;
  threads.run([&] {
    EXPECT_EQ(registry_.match_upstream("search.example.com", 443).name(), "other");
    registry_.apply_shadow(stricter());
    Upstream& search = registry_.match_upstream("search.example.com", 443);
    EXPECT_EQ(search.name(), "search");
    EXPECT_EQ(registry_.match_upstream("search.example.com", 80).name(), "other");
    EXPECT_NO_THROW(fail(search, 30));
    const auto decisions = of_shadow();
    ASSERT_FALSE(decisions.empty());
    EXPECT_EQ(decisions[0].name, "search");
    EXPECT_EQ(decisions[0].action, "trip");
    EXPECT_THAT(metrics_.text(), testing::Not(HasSubstr(R"(penstock_breaker_state{state="open",upstream="search"})")));
    registry_.apply_shadow(std::nullopt);
    EXPECT_EQ(registry_.match_upstream("search.example.com", 443).name(), "other");
  });
}

TEST_F(Watched, ItClaimsNoHostThatThePolicyInForceHas) {
  decision::Policy shadow = stricter();
  shadow.upstreams[0].hosts = {"elsewhere.example.com"};
  shadow.upstreams[1].hosts = {"pay.example.com:443"};
  registry_.apply_shadow(shadow);
  EXPECT_EQ(registry_.match_upstream("pay.example.com", 443).name(), "payments");
  EXPECT_EQ(registry_.match_upstream("elsewhere.example.com", 443).name(), "other");
}

TEST_F(Watched, CallsOutliveIt) {
  Threads threads;
  threads.run([&] {
    Upstream& payments = registry_.match_upstream("pay.example.com", 443);
    Upstream::Call before = payments.begin();
    registry_.apply_shadow(stricter());
    Upstream::Call during = payments.begin();
    registry_.apply_shadow(std::nullopt);
    before.finish(CallOutcome::ok);
    during.finish(CallOutcome::ok);
    EXPECT_THAT(metrics_.text(), testing::Not(HasSubstr("penstock_shadow_breaker_state{")));
    EXPECT_EQ(payments.in_flight(), 0);
  });
}

TEST_F(Watched, OneThatActsIsRefusedAndOneThatGovernsWatchesNobody) {
  decision::Policy acts = stricter();
  acts.shadow = false;
  EXPECT_THROW(registry_.apply_shadow(acts), std::invalid_argument);
  decision::Policy governs = acting();
  governs.shadow = true;
  registry_.apply(governs);
  registry_.apply_shadow(stricter());
  EXPECT_EQ(registry_.match_upstream("search.example.com", 443).name(), "other");
  registry_.apply(acting());
  EXPECT_EQ(registry_.match_upstream("search.example.com", 443).name(), "search") << "it is kept";
}

// From all threads, while it comes and goes.
TEST(WatchedOnThreads, CallsAreToldOnce) {
  for (unsigned count : {1u, 2u, 4u, 8u}) {
    MetricsRegistry metrics;
    Registry registry(metrics);
    registry.apply(acting());
    Threads threads(count);
    std::vector<std::function<void()>> ends;
    for (unsigned i = 0; i < 2 * count; ++i) {
      ends.push_back(threads.start(
          [&] {
            Upstream& payments = registry.match_upstream("pay.example.com", 443);
            for (int n = 0; n < 300; ++n) {
              Upstream::Call call = payments.begin();
              if (n % 16 == 0) yield();
              call.finish(n % 3 == 0 ? CallOutcome::error : CallOutcome::ok);
            }
          },
          i % count));
    }
    ends.push_back(threads.start([&] {
      for (int n = 0; n < 20; ++n) {
        registry.apply_shadow(n % 2 == 0 ? std::optional(stricter()) : std::nullopt);
        registry.tick(now());
        yield();
      }
      registry.apply_shadow(stricter());
    }));
    for (const auto& end : ends) end();
    const Upstream& payments = registry.match_upstream("pay.example.com", 443);
    EXPECT_EQ(UpstreamAccess::watching(payments)->calls, 0) << count;
    EXPECT_EQ(payments.in_flight(), 0) << count;
  }
}

}  // namespace
}  // namespace penstock
