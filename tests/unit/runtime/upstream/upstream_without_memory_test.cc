#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "penstock/fiber.h"
#include "penstock/metrics.h"
#include "penstock/upstream.h"
#include "runtime/upstream/upstream_access.h"
#include "tests/unit/decision/allocation_count.h"
#include "tests/unit/runtime/eventually.h"
#include "tests/unit/runtime/fiber/threads.h"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using decision::BreakerState;
using decision::NoMemory;
using fiber::Threads;

// Lets one call through at once; opens when half of ten calls fail.
class UpstreamOfOne : public testing::Test {
 protected:
  UpstreamOfOne() {
    decision::UpstreamPolicy policy;
    policy.name = "payments";
    policy.limit = {.mode = decision::LimitMode::fixed, .min = 1, .max = 1};
    policy.breaker.usefulness = false;
    policy.breaker.error_ratio = 0.5;
    policy.breaker.min_calls = 10;
    policy.timeout = 10s;
    upstream = UpstreamAccess::make(policy, true, metrics, {.transition = [this](const Upstream&, const auto& t) {
                                      transitions.push_back(std::string(to_string(t.to)) + ": " + t.message);
                                    }});
    UpstreamAccess::tick(*upstream, {.now = std::chrono::steady_clock::now(), .bulkhead = 1000});
  }
  MetricsRegistry metrics;
  std::vector<std::string> transitions;
  std::unique_ptr<Upstream> upstream;
};

TEST_F(UpstreamOfOne, WithoutMemoryAPlaceGoesToWhoWaitsForIt) {
  Threads threads;
  threads.run([&] {
    std::optional<Upstream::Call> held = upstream->begin();
    int admitted = 0;
    std::vector<Fiber> waiting;
    for (int i = 0; i < 3; ++i) {
      waiting.push_back(spawn("waiting", [&] {
        Upstream::Call call = upstream->begin();
        ++admitted;
        const NoMemory none;
        call.finish(CallOutcome::ok);
      }));
    }
    const auto all_wait = [&] {
      return UpstreamAccess::stats(*upstream, std::chrono::steady_clock::now()).waiting == 3;
    };
    ASSERT_TRUE(eventually(all_wait));
    {
      const NoMemory none;
      held.reset();
    }
    for (Fiber& fiber : waiting) fiber.join();
    EXPECT_EQ(admitted, 3);
  });
  EXPECT_EQ(upstream->in_flight(), 0);
}

TEST_F(UpstreamOfOne, WithoutMemoryItsBreakerOpensAndTurnsAwayWhoWaits) {
  Threads threads;
  threads.run([&] {
    for (int i = 0; i < 9; ++i) upstream->begin().finish(CallOutcome::error);
    ASSERT_EQ(upstream->breaker(), BreakerState::closed);
    std::optional<Upstream::Call> last = upstream->begin();
    Fiber waiting = spawn("waiting", [&] { EXPECT_THROW(upstream->begin(), Rejected); });
    const auto waits = [&] { return UpstreamAccess::stats(*upstream, std::chrono::steady_clock::now()).waiting == 1; };
    ASSERT_TRUE(eventually(waits));
    {
      const NoMemory none;
      last->finish(CallOutcome::error);
    }
    waiting.join();
    EXPECT_EQ(upstream->breaker(), BreakerState::open);
    EXPECT_EQ(upstream->in_flight(), 0);
  });
}

TEST_F(UpstreamOfOne, WhoFindsNoMemoryToCallLeavesNoTrace) {
  Threads threads;
  threads.run([&] {
    std::optional<Upstream::Call> held = upstream->begin();
    const auto ask = [&] {
      const NoMemory none;
      upstream->begin();
    };
    for (int i = 0; i < 3; ++i) EXPECT_THROW(ask(), std::bad_alloc);
    EXPECT_EQ(UpstreamAccess::stats(*upstream, std::chrono::steady_clock::now()).waiting, 0);
    held.reset();
    EXPECT_EQ(upstream->in_flight(), 0);
    upstream->begin().finish(CallOutcome::ok);
  });
}

}  // namespace
}  // namespace penstock
