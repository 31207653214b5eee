#include "penstock/upstream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "penstock/metrics.h"
#include "runtime/fiber/fiber_state.h"
#include "runtime/upstream/upstream_access.h"
#include "tests/unit/runtime/admission/refusals.h"
#include "tests/unit/runtime/eventually.h"
#include "tests/unit/runtime/fiber/threads.h"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using decision::BreakerForce;
using decision::BreakerState;
using fiber::Threads;

Instant now() { return std::chrono::steady_clock::now(); }

// An upstream "payments" that lets two calls through at once and has an explicit breaker only.
class UpstreamOfTwo : public testing::Test {
 protected:
  UpstreamOfTwo() {
    policy.name = "payments";
    policy.limit = {.mode = decision::LimitMode::adaptive, .min = 1, .max = 2};
    policy.breaker.usefulness = false;
    policy.breaker.error_ratio = 0.5;
    policy.breaker.min_calls = 10;
    policy.timeout = 10s;
    upstream =
        UpstreamAccess::make(policy, true, metrics, {.transition = [this](const Upstream& of, const auto& transition) {
                               EXPECT_EQ(&of, upstream.get());
                               transitions.push_back(std::string(to_string(transition.from)) + ">" +
                                                     std::string(to_string(transition.to)) + ":" + transition.reason);
                             }});
  }

  Runtime::UpstreamStats stats() const { return UpstreamAccess::stats(*upstream, now()); }

  MetricsRegistry metrics;
  decision::UpstreamPolicy policy;
  std::vector<std::string> transitions;
  std::unique_ptr<Upstream> upstream;
};

TEST_F(UpstreamOfTwo, CountsEachCallByHowItEnded) {
  Threads threads;
  threads.run([&] {
    EXPECT_EQ(upstream->call([] { return 7; }), 7);
    upstream->call([] {});
    EXPECT_THROW(upstream->call([] { throw std::runtime_error("reset"); }), std::runtime_error);
    EXPECT_THROW(upstream->call([]() -> int { throw Cancelled("gone"); }), Cancelled);
    upstream->begin().finish(CallOutcome::timeout);
    { Upstream::Call dropped = upstream->begin(); }
    EXPECT_THROW(
        {
          Upstream::Call dropped = upstream->begin();
          throw std::runtime_error("unwinding");
        },
        std::runtime_error);
  });
  const auto counted = stats();
  EXPECT_EQ(counted.attempts, 7u);
  EXPECT_EQ(counted.ok, 2u);
  EXPECT_EQ(counted.errors, 2u);
  EXPECT_EQ(counted.timeouts, 1u);
  EXPECT_EQ(counted.cancelled, 2u);
  EXPECT_EQ(counted.rejected, 0u);
  EXPECT_EQ(counted.in_flight, 0);
  const std::string text = metrics.text();
  EXPECT_THAT(text, testing::HasSubstr("penstock_upstream_requests_total{outcome=\"ok\",upstream=\"payments\"} 2\n"));
  EXPECT_THAT(text, testing::HasSubstr("penstock_upstream_request_duration_seconds_count{upstream=\"payments\"} 7\n"));
}

TEST_F(UpstreamOfTwo, IsCalledByFibersOnly) {
  EXPECT_THROW(upstream->begin(), std::logic_error);
  EXPECT_THROW(upstream->call([] {}), std::logic_error);
  EXPECT_EQ(stats().attempts, 0u);
}

TEST_F(UpstreamOfTwo, ACallEndsAtTheEarlierOfTimeoutAndDeadline) {
  policy.timeout = 20ms;
  UpstreamAccess::apply(*upstream, policy, false, now());
  Threads threads;
  threads.run([&] {
    const Instant start = now();
    EXPECT_THROW(upstream->call([] { sleep_for(5s); }), DeadlineExceeded);
    EXPECT_LT(now() - start, 4s);
    EXPECT_EQ(stats().timeouts, 1u);
    // The fiber itself goes on.
    sleep_for(1ms);

    const Instant deadline = now() + 5ms;
    DeadlineScope scope(deadline);
    EXPECT_EQ(upstream->begin().deadline(), deadline);
    EXPECT_THROW(upstream->call([] { sleep_for(5s); }), DeadlineExceeded);
    EXPECT_EQ(stats().timeouts, 2u);
  });
}

TEST_F(UpstreamOfTwo, RefusesWhenTheDeadlineHasPassed) {
  Threads threads;
  threads.run([&] {
    DeadlineScope scope(now() - 1ms);
    EXPECT_EQ(reason_of([&] { upstream->begin(); }), RejectReason::deadline);
    EXPECT_EQ(stats().rejected, 1u);
    EXPECT_EQ(stats().in_flight, 0);
  });
}

TEST_F(UpstreamOfTwo, CallsWaitForAPlaceAndTheWaitIsTheUpstreams) {
  Threads threads;
  threads.run([&] {
    Upstream::Call first = upstream->begin();
    EXPECT_EQ(*fiber::current().upstream, "payments");
    Upstream::Call second = upstream->begin();
    const std::string* waits_for = nullptr;
    fiber::FiberState* waiter = nullptr;
    Fiber waiting = spawn("waiting", [&] {
      waiter = &fiber::current();
      upstream->call([] {});
      EXPECT_EQ(fiber::current().upstream, nullptr);
    });
    ASSERT_TRUE(eventually([&] { return stats().waiting == 1; }));
    waits_for = waiter->upstream;
    ASSERT_NE(waits_for, nullptr);
    EXPECT_EQ(*waits_for, "payments");
    EXPECT_EQ(stats().in_flight, 2);
    second.finish(CallOutcome::ok);
    waiting.join();
    first.finish(CallOutcome::ok);
    EXPECT_EQ(fiber::current().upstream, nullptr);
  });
  EXPECT_EQ(stats().ok, 3u);
}

TEST_F(UpstreamOfTwo, CallsWaitInTheOrderOfTheirRequestsPriority) {
  Threads threads;
  std::vector<std::string> order;
  threads.run([&] {
    std::optional<Upstream::Call> first = upstream->begin(), second = upstream->begin();
    std::vector<Fiber> waiting;
    const auto asks = [&](const char* name, std::optional<decision::Priority> priority) {
      waiting.push_back(spawn(name, [&, name, priority] {
        if (priority) {
          auto account = std::make_shared<fiber::RequestAccount>();
          account->priority = *priority;
          fiber::set_account(account);
        }
        // What a request has others do for it is its own.
        spawn(name, [&, name] { upstream->call([&] { order.push_back(name); }); }).join();
        fiber::set_account(nullptr);
      }));
    };
    asks("low", decision::Priority::low);
    asks("none", std::nullopt);
    asks("critical", decision::Priority::critical);
    EXPECT_TRUE(eventually([&] { return stats().waiting == 3; }));
    first->finish(CallOutcome::ok);
    for (Fiber& fiber : waiting) fiber.join();
    second->finish(CallOutcome::ok);
  });
  EXPECT_THAT(order, testing::ElementsAre("critical", "none", "low"));
}

TEST_F(UpstreamOfTwo, WaitsNoLongerThanTheDeadline) {
  Threads threads;
  threads.run([&] {
    Upstream::Call first = upstream->begin();
    Upstream::Call second = upstream->begin();
    {
      DeadlineScope scope(now() + 10ms);
      EXPECT_EQ(reason_of([&] { upstream->begin(); }), RejectReason::deadline);
    }
    policy.timeout = 10ms;
    UpstreamAccess::apply(*upstream, policy, false, now());
    EXPECT_EQ(reason_of([&] { upstream->begin(); }), RejectReason::queue_timeout);
    EXPECT_EQ(stats().waiting, 0);
    EXPECT_EQ(stats().rejected, 2u);
    first.finish(CallOutcome::ok);
    second.finish(CallOutcome::ok);
  });
}

TEST_F(UpstreamOfTwo, ACancelledWaitLeavesNoTrace) {
  Threads threads;
  threads.run([&] {
    Upstream::Call first = upstream->begin();
    Upstream::Call second = upstream->begin();
    Fiber waiting = spawn("waiting", [&] { upstream->call([] {}); });
    ASSERT_TRUE(eventually([&] { return stats().waiting == 1; }));
    waiting.cancel();
    EXPECT_THROW(waiting.join(), Cancelled);
    EXPECT_EQ(stats().waiting, 0);
    EXPECT_EQ(stats().cancelled, 1u);
    first.finish(CallOutcome::ok);
    second.finish(CallOutcome::ok);
    EXPECT_EQ(stats().in_flight, 0);
  });
}

TEST_F(UpstreamOfTwo, ABreakerThatOpensRefusesTheCallsAndThoseThatWait) {
  Threads threads;
  threads.run([&] {
    Upstream::Call first = upstream->begin();
    Upstream::Call second = upstream->begin();
    RejectReason reason{};
    Fiber waiting = spawn("waiting", [&] { reason = reason_of([&] { upstream->begin(); }); });
    ASSERT_TRUE(eventually([&] { return stats().waiting == 1; }));
    UpstreamAccess::force(*upstream, BreakerForce::open, "maintenance", now());
    waiting.join();
    EXPECT_EQ(reason, RejectReason::breaker);
    EXPECT_EQ(reason_of([&] { upstream->begin(); }), RejectReason::breaker);
    EXPECT_EQ(upstream->breaker(), BreakerState::open);
    first.finish(CallOutcome::ok);
    second.finish(CallOutcome::ok);
    UpstreamAccess::release_lease(*upstream, now());
    EXPECT_EQ(stats().rejected, 2u);
  });
  ASSERT_FALSE(transitions.empty());
  EXPECT_EQ(transitions.front(), "closed>open:forced");
}

TEST_F(UpstreamOfTwo, ErrorsOpenTheBreakerAndSuccessfulProbesCloseIt) {
  // Longer than this thread is kept from looking.
  policy.breaker.open = 1s;
  policy.breaker.probes = 2;
  UpstreamAccess::apply(*upstream, policy, false, now());
  Threads threads;
  threads.run([&] {
    for (int i = 0; i < 10; ++i) {
      try {
        upstream->call([] { throw std::runtime_error("refused"); });
      } catch (const std::exception&) {
      }
    }
    UpstreamAccess::tick(*upstream, {.now = now(), .bulkhead = 1000});
    EXPECT_EQ(upstream->breaker(), BreakerState::open);
    EXPECT_EQ(reason_of([&] { upstream->begin(); }), RejectReason::breaker);
    EXPECT_TRUE(eventually([&] {
      try {
        upstream->call([] {});
      } catch (const Rejected&) {
      }
      UpstreamAccess::tick(*upstream, {.now = now(), .bulkhead = 1000});
      return upstream->breaker() == BreakerState::closed;
    }));
  });
  ASSERT_GE(transitions.size(), 3u);
  EXPECT_EQ(transitions.front(), "closed>open:error_ratio");
}

TEST_F(UpstreamOfTwo, ProbesGoPastCallsThatHang) {
  policy.breaker.open = 100ms;
  UpstreamAccess::apply(*upstream, policy, false, now());
  Threads threads;
  threads.run([&] {
    Upstream::Call hangs = upstream->begin();
    Upstream::Call hangs_too = upstream->begin();
    UpstreamAccess::trip(*upstream, "the fleet saw it fail", now());
    EXPECT_EQ(upstream->breaker(), BreakerState::open);
    bool probed = false;
    EXPECT_TRUE(eventually([&] {
      try {
        DeadlineScope scope(now() + 5s);
        upstream->call([&] { probed = true; });
      } catch (const Rejected&) {
      }
      return probed;
    }));
    EXPECT_EQ(stats().in_flight, 2);
    hangs.finish(CallOutcome::timeout);
    hangs_too.finish(CallOutcome::timeout);
    EXPECT_EQ(stats().in_flight, 0);
  });
}

TEST_F(UpstreamOfTwo, TheLimitIsTheLeastOfPolicyDirectiveAndMemory) {
  policy.limit.max = 100;
  policy.limit.min = 5;
  UpstreamAccess::apply(*upstream, policy, false, now());
  EXPECT_EQ(upstream->limit(), 100);
  UpstreamAccess::set_directive(*upstream, 50, now());
  EXPECT_EQ(upstream->limit(), 50);
  UpstreamAccess::set_directive(*upstream, 1, now());
  EXPECT_EQ(upstream->limit(), 5);
  EXPECT_THROW(UpstreamAccess::set_directive(*upstream, 0, now()), std::invalid_argument);
  UpstreamAccess::release_lease(*upstream, now());
  EXPECT_EQ(upstream->limit(), 100);
  UpstreamAccess::tick(*upstream, {.now = now(), .bulkhead = 30});
  EXPECT_EQ(upstream->limit(), 30);
  policy.limit.mode = decision::LimitMode::fixed;
  UpstreamAccess::apply(*upstream, policy, false, now());
  UpstreamAccess::set_directive(*upstream, 50, now());
  EXPECT_EQ(upstream->limit(), 100);
}

TEST_F(UpstreamOfTwo, MemoryBoundsThoseThatWaitAsWell) {
  UpstreamAccess::tick(*upstream, {.now = now(), .bulkhead = 3});
  Threads threads;
  threads.run([&] {
    Upstream::Call first = upstream->begin();
    Upstream::Call second = upstream->begin();
    Fiber waiting = spawn("waiting", [&] { upstream->call([] {}); });
    ASSERT_TRUE(eventually([&] { return stats().waiting == 1; }));
    EXPECT_EQ(reason_of([&] { upstream->begin(); }), RejectReason::limit);
    first.finish(CallOutcome::ok);
    waiting.join();
    second.finish(CallOutcome::ok);
  });
}

TEST_F(UpstreamOfTwo, AShadowPolicyRefusesNothingAndShowsWhatItWould) {
  UpstreamAccess::apply(*upstream, policy, true, now());
  UpstreamAccess::force(*upstream, BreakerForce::open, "maintenance", now());
  Threads threads;
  threads.run([&] {
    std::vector<Upstream::Call> calls;
    for (int i = 0; i < 5; ++i) calls.push_back(upstream->begin());
    EXPECT_GE(calls[0].deadline(), now() + decision::UpstreamPolicy{}.timeout - 5s);
    EXPECT_EQ(stats().in_flight, 5);
    EXPECT_EQ(stats().limit, 2);
    EXPECT_EQ(stats().breaker, BreakerState::open);
    for (Upstream::Call& call : calls) call.finish(CallOutcome::ok);
  });
  EXPECT_EQ(stats().ok, 5u);
}

TEST_F(UpstreamOfTwo, ARateIsOfWhatWasAcceptedOnAllThreads) {
  policy.limit.max = 1000;
  UpstreamAccess::apply(*upstream, policy, false, now());
  Threads threads;
  threads.run([&] {
    for (int i = 0; i < 200; ++i) upstream->call([] {});
    for (int i = 0; i < 50; ++i) upstream->begin().finish_refused(std::nullopt);
    UpstreamAccess::tick(*upstream, {.now = now(), .bulkhead = 1000});
  });
  const auto told = stats();
  EXPECT_EQ(told.refused, 50u);
  EXPECT_EQ(told.errors, 50u);
  ASSERT_TRUE(told.rate);
  EXPECT_GE(*told.rate, 190);
}

TEST_F(UpstreamOfTwo, RetriesAreAShareOfTheCalls) {
  Threads threads;
  threads.run([&] {
    const Instant start = now();
    for (int i = 0; i < 100; ++i) upstream->call([] {});
    int granted = 0;
    while (upstream->try_retry()) ++granted;
    EXPECT_GE(granted, 10);
    EXPECT_LE(granted, 21 + (now() - start) / 1s) << "a tenth of 100 and one a second";
  });
}

TEST(UnguardedUpstream, OnlyCounts) {
  MetricsRegistry metrics;
  decision::UpstreamPolicy policy;
  policy.name = "other";
  policy.limit.max = 1;
  auto upstream = UpstreamAccess::make(policy, false, metrics, {});
  Threads threads;
  threads.run([&] {
    std::vector<Upstream::Call> calls;
    for (int i = 0; i < 50; ++i) calls.push_back(upstream->begin());
    for (Upstream::Call& call : calls) call.finish(CallOutcome::error);
    UpstreamAccess::tick(*upstream, {.now = now(), .memory_pressure = 1, .bulkhead = 1});
    EXPECT_EQ(upstream->breaker(), BreakerState::closed);
    upstream->call([] {});
  });
  EXPECT_EQ(UpstreamAccess::stats(*upstream, now()).errors, 50u);
}

class UpstreamOnThreads : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Sweep, UpstreamOnThreads, testing::Values(1, 2, 4));

// Calls on all threads, some cancelled, some late, while limits and breaker are pushed about.
TEST_P(UpstreamOnThreads, NeverHasMoreInFlightThanTheLimitAndLosesNoPlace) {
  constexpr int kHighest = 6;
  MetricsRegistry metrics;
  decision::UpstreamPolicy policy;
  policy.name = "payments";
  policy.limit = {.mode = decision::LimitMode::adaptive, .min = 1, .max = kHighest};
  policy.breaker.usefulness = false;
  auto upstream = UpstreamAccess::make(policy, true, metrics, {});
  Occupancy places;
  {
    Threads threads(GetParam());
    std::vector<std::function<void()>> ends;
    for (unsigned thread = 0; thread < threads.size(); ++thread) {
      ends.push_back(threads.start(
          [&, thread] {
            std::mt19937 random(thread);
            std::vector<Fiber> fibers;
            for (int i = 0; i < 100; ++i) {
              fibers.push_back(spawn("request", [&, choice = random() % 8, pause = random() % 300] {
                try {
                  DeadlineScope scope(choice == 0 ? now() + 2ms : Instant::max());
                  for (int round = 0; round < 5; ++round) {
                    Upstream::Call call = upstream->begin();
                    {
                      const Occupancy::Visit visit(places);
                      sleep_for(std::chrono::microseconds(pause));
                    }
                    call.finish(CallOutcome::ok);
                  }
                } catch (const Rejected&) {
                } catch (const Cancelled&) {
                } catch (const DeadlineExceeded&) {
                }
              }));
            }
            for (std::size_t i = 0; i < fibers.size(); i += 5) {
              sleep_for(200us);
              fibers[i].cancel();
              UpstreamAccess::set_directive(*upstream, 1 + static_cast<int>(random() % kHighest), now());
              UpstreamAccess::tick(*upstream, {.now = now(), .bulkhead = 1000});
              if (i == 50) {
                UpstreamAccess::force(*upstream, BreakerForce::open, "test", now());
                UpstreamAccess::force(*upstream, BreakerForce::closed, "test", now());
              }
            }
            for (Fiber& fiber : fibers) fiber.join();
          },
          thread));
    }
    for (auto& end : ends) end();
  }
  EXPECT_LE(places.most(), kHighest);
  const auto stats = UpstreamAccess::stats(*upstream, now());
  EXPECT_EQ(stats.in_flight, 0);
  EXPECT_EQ(stats.waiting, 0);
  EXPECT_EQ(stats.attempts, stats.ok + stats.errors + stats.timeouts + stats.cancelled + stats.rejected);
}

}  // namespace
}  // namespace penstock
