#include "runtime/upstream/upstream_ticker.h"

#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "penstock/fiber.h"
#include "penstock/metrics.h"
#include "penstock/upstream.h"
#include "tests/unit/runtime/eventually.h"
#include "tests/unit/runtime/fiber/threads.h"

// Upstreams that nobody calls sleep, and nobody notices.
namespace penstock {
namespace {

using namespace std::chrono_literals;
using decision::BreakerState;
using fiber::Threads;

class UpstreamTicker : public testing::TestWithParam<int> {
 protected:
  static constexpr int kUpstreams = 3;

  UpstreamTicker() {
    policy.breaker.slow_call = decision::SlowCallRule{.over = 50ms, .ratio = 0.5};
    for (int i = 0; i < kUpstreams; ++i) {
      policy.name = "upstream-" + std::to_string(i);
      upstreams.push_back(UpstreamAccess::make(
          policy, true, metrics,
          {.transition = [this](const Upstream&, const auto&) { ++transitions; }, .decision = nullptr}));
      listed.push_back(upstreams.back().get());
    }
    ticker.list(listed, at);
  }

  void tick() {
    at = std::max(at + 1us, std::chrono::steady_clock::now());
    const int in_flight = ticker.collect(at);
    ticker.tick({.tick = {.now = at, .wall = at.time_since_epoch(), .bulkhead = 0},
                 .memory = places * 1024,
                 .in_flight = in_flight,
                 .bytes_per_request = 1024});
  }
  // Until all sleep that nobody calls.
  void tick_often() {
    for (int i = 0; i < 3; ++i) tick();
  }
  Runtime::UpstreamStats stats(int i) const {
    return UpstreamAccess::stats(*listed[static_cast<std::size_t>(i)], std::chrono::steady_clock::now());
  }

  MetricsRegistry metrics;
  decision::UpstreamPolicy policy{.memory_share = 1};
  std::atomic<int> transitions{0};
  std::atomic<int> places{1000};
  Instant at = std::chrono::steady_clock::now();
  std::vector<std::unique_ptr<Upstream>> upstreams;
  std::vector<Upstream*> listed;
  UpstreamAccess::Ticker ticker;
};
INSTANTIATE_TEST_SUITE_P(Sweep, UpstreamTicker, testing::Values(1, 2, 4, 8));

TEST_P(UpstreamTicker, ASleeperKnowsTheMemoryThatIsLeft) {
  Threads threads;
  threads.run([&] { listed[0]->call([] {}); });
  tick_often();
  EXPECT_EQ(listed[0]->limit(), 1000);
  places = 5;
  tick();
  EXPECT_EQ(listed[0]->limit(), 5);
  places = 7;
  tick();
  threads.run([&] {
    std::vector<Upstream::Call> calls;
    for (int i = 0; i < 7; ++i) calls.push_back(listed[0]->begin());
    EXPECT_THROW(listed[0]->begin(), Rejected);
    for (Upstream::Call& call : calls) call.finish(CallOutcome::ok);
  });
}

TEST_P(UpstreamTicker, ASleeperIsForcedOpenAndTripped) {
  tick_often();
  UpstreamAccess::force(*listed[0], decision::BreakerForce::open, "maintenance", at);
  UpstreamAccess::trip(*listed[1], "the fleet says so", at);
  EXPECT_EQ(transitions, 2);
  EXPECT_EQ(listed[0]->breaker(), BreakerState::open);
  // Awake again: its ticks go on to the probes.
  EXPECT_TRUE(eventually([&] {
    tick();
    return listed[1]->breaker() == BreakerState::half_open;
  }));
}

TEST_P(UpstreamTicker, OneThatWasWokenIsJudgedAgain) {
  Threads threads;
  tick_often();
  threads.run([&] {
    std::vector<Upstream::Call> calls;
    for (int i = 0; i < 30; ++i) calls.push_back(listed[0]->begin());
    EXPECT_TRUE(eventually([&] {
      tick();
      return listed[0]->breaker() == BreakerState::open;
    })) << "calls hang";
    for (Upstream::Call& call : calls) call.finish(CallOutcome::ok);
  });
  EXPECT_EQ(listed[1]->breaker(), BreakerState::closed);
}

TEST_P(UpstreamTicker, AnotherListKeepsWhatIsKnown) {
  Threads threads;
  threads.run([&] {
    for (int i = 0; i < 100; ++i) listed[0]->call([] {});
  });
  tick_often();
  policy.name = "new";
  upstreams.push_back(UpstreamAccess::make(policy, true, metrics, {}));
  listed.insert(listed.begin(), upstreams.back().get());
  ticker.list(listed, at);
  tick_often();
  EXPECT_EQ(stats(1).attempts, 100u);
  EXPECT_EQ(stats(1).ok, 100u);
  threads.run([&] { listed[0]->call([] {}); });
  EXPECT_EQ(stats(0).ok, 1u);
}

TEST_P(UpstreamTicker, NoCallIsLostOnTheWayToSleepAndBack) {
  constexpr int kRounds = 300;
  Threads threads(static_cast<unsigned>(GetParam()));
  std::atomic<int> running{GetParam()};
  std::vector<std::function<void()>> ends;
  for (unsigned thread = 0; thread < threads.size(); ++thread) {
    ends.push_back(threads.start(
        [&, thread] {
          std::mt19937 random(thread);
          for (int i = 0; i < kRounds; ++i) {
            Upstream& upstream = *listed[random() % kUpstreams];
            const auto takes = std::chrono::microseconds(random() % 100);
            upstream.call([&] {
              if (takes > 50us) sleep_for(takes);
            });
            if (random() % 4 == 0) sleep_for(std::chrono::microseconds(random() % 300));
          }
          --running;
        },
        thread));
  }
  while (running > 0) {
    tick();
    for (int i = 0; i < kUpstreams; ++i) EXPECT_GE(stats(i).in_flight, 0);
  }
  for (auto& end : ends) end();
  tick_often();
  std::uint64_t ok = 0;
  for (int i = 0; i < kUpstreams; ++i) {
    EXPECT_EQ(stats(i).in_flight, 0);
    EXPECT_EQ(stats(i).attempts, stats(i).ok);
    ok += stats(i).ok;
  }
  EXPECT_EQ(ok, static_cast<std::uint64_t>(kRounds * GetParam()));
}

}  // namespace
}  // namespace penstock
