#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <future>
#include <string>

#include "penstock/runtime.h"
#include "tests/unit/runtime/eventually.h"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

// Runs fn as a fiber of the runtime and waits for it from the test's thread.
void on_fiber(Runtime& runtime, const std::function<void()>& fn) {
  std::promise<void> done;
  runtime.spawn("test", [&] {
    fn();
    done.set_value();
  });
  ASSERT_EQ(done.get_future().wait_for(20s), std::future_status::ready);
}

decision::Policy payments_only() {
  decision::Policy policy;
  policy.pools = {{.name = "default", .min = 1, .max = 50}};
  decision::UpstreamPolicy payments;
  payments.name = "payments";
  payments.hosts = {"pay.example.com"};
  payments.breaker.error_ratio = 0.5;
  payments.breaker.min_calls = 5;
  payments.breaker.open = 100ms;
  policy.upstreams = {payments};
  return policy;
}

TEST(RuntimePolicy, StatsTellWhatWasCounted) {
  Runtime runtime({.threads = 2});
  runtime.apply_policy(payments_only());
  on_fiber(runtime, [&] {
    Pool::Permit permit = runtime.pool("default").acquire();
    runtime.match_upstream("pay.example.com", 443).call([] { sleep_for(2ms); });
    const Runtime::Stats stats = runtime.stats();
    ASSERT_EQ(stats.pools.size(), 1u);
    EXPECT_EQ(stats.pools[0].limit, 50);
    EXPECT_EQ(stats.pools[0].in_flight, 1);
    const auto payments = std::find_if(stats.upstreams.begin(), stats.upstreams.end(),
                                       [](const auto& upstream) { return upstream.name == "payments"; });
    ASSERT_NE(payments, stats.upstreams.end());
    EXPECT_EQ(payments->ok, 1u);
    EXPECT_GE(payments->latency, 2ms);
    EXPECT_GT(stats.resident_bytes, 1u << 20);
    EXPECT_GT(stats.cpu, Duration::zero());
    EXPECT_GE(stats.fibers, 1u);
  });
  const Runtime::PoolStats pool = runtime.stats().pools[0];
  EXPECT_EQ(pool.completed, 1u);
  EXPECT_GE(pool.busy, 2ms);
}

TEST(RuntimePolicy, BreakersOpenAndRecoverWithoutAController) {
  Runtime runtime({.threads = 2});
  runtime.apply_policy(payments_only());
  on_fiber(runtime, [&] {
    Upstream& payments = *runtime.find_upstream("payments");
    bool failing = true;
    const auto call = [&] {
      try {
        payments.call([&] {
          if (failing) throw std::runtime_error("refused");
        });
      } catch (const std::exception&) {
      }
      return payments.breaker();
    };
    EXPECT_TRUE(eventually([&] { return call() == decision::BreakerState::open; }));
    failing = false;
    EXPECT_TRUE(eventually([&] { return call() == decision::BreakerState::closed; }));
  });
  std::string reasons;
  for (const auto& event : runtime.take_breaker_events()) reasons += event.transition.reason + " ";
  EXPECT_THAT(reasons, testing::StartsWith("error_ratio "));
  EXPECT_THAT(reasons, HasSubstr("probes_succeeded"));
  EXPECT_THAT(runtime.metrics().text(), HasSubstr("penstock_breaker_transitions_total{from=\"closed\","
                                                  "reason=\"error_ratio\",to=\"open\",upstream=\"payments\"} 1\n"));
}

TEST(RuntimePolicy, TheEndOfALeaseReturnsEverythingToThePolicy) {
  Runtime runtime({.threads = 1});
  runtime.apply_policy(payments_only());
  runtime.set_pool_limit("default", 7);
  runtime.set_upstream_limit("payments", 9);
  runtime.set_breaker("payments", decision::BreakerForce::open, "maintenance");
  runtime.set_draining(true);
  EXPECT_EQ(runtime.pool("default").limit(), 7);
  EXPECT_EQ(runtime.find_upstream("payments")->limit(), 9);
  EXPECT_TRUE(runtime.draining());
  runtime.release_lease();
  EXPECT_EQ(runtime.pool("default").limit(), 50);
  EXPECT_EQ(runtime.find_upstream("payments")->limit(), decision::LimitPolicy().max);
  EXPECT_FALSE(runtime.draining());
  // A forced breaker goes on as one that opened by itself: it probes.
  on_fiber(runtime, [&] {
    EXPECT_TRUE(eventually([&] {
      try {
        runtime.find_upstream("payments")->call([] {});
      } catch (const Rejected&) {
      }
      return runtime.find_upstream("payments")->breaker() == decision::BreakerState::closed;
    }));
  });
}

}  // namespace
}  // namespace penstock
