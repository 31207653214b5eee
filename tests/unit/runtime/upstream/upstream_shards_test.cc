#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <string>
#include <vector>

#include "penstock/fiber.h"
#include "penstock/metrics.h"
#include "penstock/sync.h"
#include "penstock/upstream.h"
#include "runtime/upstream/upstream_access.h"
#include "tests/unit/decision/allocation_count.h"
#include "tests/unit/runtime/admission/refusals.h"
#include "tests/unit/runtime/eventually.h"
#include "tests/unit/runtime/fiber/threads.h"

// An upstream whose calls threads begin and end by themselves is still one upstream.
namespace penstock {
namespace {

using namespace std::chrono_literals;
using decision::BreakerState;
using fiber::Threads;

Instant now() { return std::chrono::steady_clock::now(); }

class UpstreamShards : public testing::TestWithParam<int> {
 protected:
  UpstreamShards() {
    policy.name = "payments";
    policy.limit = {.mode = decision::LimitMode::adaptive, .min = 1, .max = 500};
    policy.breaker.usefulness = false;
    policy.timeout = 30s;
    make();
  }

  void make() { upstream = UpstreamAccess::make(policy, true, metrics, {}); }
  void tick() { UpstreamAccess::tick(*upstream, {.now = now(), .bulkhead = 100'000}); }
  Runtime::UpstreamStats stats() const { return UpstreamAccess::stats(*upstream, now()); }

  // Runs fn(thread) as a fiber on each thread.
  static void on_each(Threads& threads, const std::function<void(unsigned)>& fn) {
    std::vector<std::function<void()>> ends;
    for (unsigned i = 0; i < threads.size(); ++i) ends.push_back(threads.start([&fn, i] { fn(i); }, i));
    for (auto& end : ends) end();
  }

  MetricsRegistry metrics;
  decision::UpstreamPolicy policy;
  std::unique_ptr<Upstream> upstream;
};
INSTANTIATE_TEST_SUITE_P(Sweep, UpstreamShards, testing::Values(1, 2, 4, 8));

TEST_P(UpstreamShards, WhileAllIsWellNobodyTakesTheCommonLock) {
  Threads threads(static_cast<unsigned>(GetParam()));
  std::atomic<int> warm{0};
  std::atomic<std::uint64_t> before{0};
  const Instant start = now();
  on_each(threads, [&](unsigned thread) {
    upstream->call([] {});
    ++warm;
    ASSERT_TRUE(eventually([&] { return warm >= GetParam(); }));
    if (thread == 0) before = UpstreamAccess::slow_paths(*upstream);
    ++warm;
    ASSERT_TRUE(eventually([&] { return warm >= 2 * GetParam(); }));
    for (int i = 0; i < 1000; ++i) upstream->call([] {});
  });
  // More threads than shards share the last one; and after a while without a tick, a call tells the breaker.
  if (GetParam() <= 4) {
    const auto periods = static_cast<std::uint64_t>((now() - start) / 200ms);
    EXPECT_LE(UpstreamAccess::slow_paths(*upstream), before + periods * static_cast<std::uint64_t>(GetParam()));
  }
  const auto counted = stats();
  EXPECT_EQ(counted.attempts, 1001u * static_cast<unsigned>(GetParam()));
  EXPECT_EQ(counted.ok, counted.attempts);
  EXPECT_EQ(counted.in_flight, 0);
  EXPECT_EQ(metrics.histogram("penstock_upstream_request_duration_seconds", "", {{"upstream", "payments"}}).count(),
            counted.ok);
}

#if !defined(__SANITIZE_ADDRESS__)
TEST_P(UpstreamShards, ACallAllocatesNothing) {
  Threads threads;
  threads.run([&] {
    for (int i = 0; i < 10 * GetParam(); ++i) upstream->call([] {});
    const std::int64_t before = decision::allocation_count();
    for (int i = 0; i < 100; ++i) upstream->call([] {});
    EXPECT_EQ(decision::allocation_count(), before);
  });
}
#endif

TEST_P(UpstreamShards, NobodyIsRefusedWhileAPlaceIsIdleElsewhere) {
  constexpr int kLimit = 500;
  Threads threads(static_cast<unsigned>(GetParam()));
  UpstreamAccess::tick(*upstream, {.now = now(), .bulkhead = kLimit});
  const auto fill = [&] {
    std::vector<Upstream::Call> calls;
    for (int k = 0; k < kLimit; ++k) calls.push_back(upstream->begin());
    EXPECT_EQ(upstream->in_flight(), kLimit);
    EXPECT_THROW(upstream->begin(), Rejected);
    for (Upstream::Call& call : calls) call.finish(CallOutcome::ok);
  };
  for (unsigned i = 0; i < threads.size(); ++i) threads.run(fill, i);
  for (unsigned i = 0; i < threads.size(); ++i) threads.run(fill, i);
  EXPECT_EQ(upstream->in_flight(), 0);
}

TEST_P(UpstreamShards, TheBreakerJudgesByTheResultsOfAllThreads) {
  policy.breaker.error_ratio = 0.5;
  policy.breaker.min_calls = 20;
  policy.breaker.window = 60s;
  make();
  Threads threads(static_cast<unsigned>(GetParam()));
  const int each = 120 / GetParam();
  on_each(threads, [&](unsigned) {
    for (int i = 0; i < each; ++i) upstream->call([] {});
  });
  int errors = 0;
  for (; upstream->breaker() == BreakerState::closed && errors < 1000; ++errors) {
    threads.run([&] { upstream->begin().finish(CallOutcome::error); }, static_cast<unsigned>(errors) % threads.size());
  }
  EXPECT_EQ(errors, 121) << "half of the calls may fail";
}

TEST_P(UpstreamShards, ErrorsOnAllThreadsTripItAsSoonAsThereAreEnough) {
  policy.breaker.error_ratio = 0.5;
  policy.breaker.min_calls = 40;
  make();
  Threads threads(static_cast<unsigned>(GetParam()));
  std::atomic<int> let_through{0};
  on_each(threads, [&](unsigned) {
    try {
      while (let_through < 1000) {
        Upstream::Call call = upstream->begin();
        ++let_through;
        call.finish(CallOutcome::error);
      }
    } catch (const Rejected& rejected) {
      EXPECT_EQ(rejected.reason(), RejectReason::breaker);
    }
  });
  EXPECT_EQ(upstream->breaker(), BreakerState::open);
  EXPECT_GE(let_through, 40);
  // Each thread may have had one under way.
  EXPECT_LT(let_through, 40 + GetParam());
}

TEST_P(UpstreamShards, CallsInFlightAreSeenToAgeOnAllThreads) {
  policy.breaker.slow_call = decision::SlowCallRule{.over = 100ms, .ratio = 0.5};
  policy.breaker.min_calls = 8;
  make();
  Threads threads(static_cast<unsigned>(GetParam()));
  std::atomic<bool> leave{false};
  std::atomic<int> begun{0};
  std::vector<std::function<void()>> ends;
  for (unsigned i = 0; i < threads.size(); ++i) {
    ends.push_back(threads.start(
        [&] {
          std::vector<Upstream::Call> calls;
          for (int k = 0; k < 8; ++k) calls.push_back(upstream->begin());
          ++begun;
          EXPECT_TRUE(eventually([&] { return leave.load(); }));
          for (Upstream::Call& call : calls) call.finish(CallOutcome::ok);
        },
        i));
  }
  threads.run([&] {
    EXPECT_TRUE(eventually([&] { return begun == GetParam(); }));
    const Instant all_begun = now();
    EXPECT_TRUE(eventually([&] {
      tick();
      return upstream->breaker() == BreakerState::open;
    })) << "they hang, and none of them has ended";
    EXPECT_GE(now() - all_begun, 50ms);
    EXPECT_GE(stats().oldest, 100ms);
    EXPECT_EQ(stats().in_flight, 8 * GetParam());
    leave = true;
  });
  for (auto& end : ends) end();
  EXPECT_EQ(stats().in_flight, 0);
  EXPECT_EQ(stats().oldest, 0s);
  EXPECT_EQ(stats().ok, 8u * static_cast<unsigned>(GetParam()));
}

TEST_P(UpstreamShards, ACallMayEndOnAnotherThread) {
  Threads threads(static_cast<unsigned>(GetParam()) + 1);
  for (CallOutcome outcome : {CallOutcome::ok, CallOutcome::error, CallOutcome::cancelled}) {
    for (unsigned i = 0; i < threads.size(); ++i) {
      std::vector<Upstream::Call> calls;
      threads.run(
          [&] {
            for (int k = 0; k < 40; ++k) calls.push_back(upstream->begin());
          },
          i);
      threads.run(
          [&] {
            for (Upstream::Call& call : calls) call.finish(outcome);
          },
          (i + 1) % threads.size());
    }
  }
  const auto counted = stats();
  EXPECT_EQ(counted.in_flight, 0);
  EXPECT_EQ(counted.ok, 40 * threads.size());
  EXPECT_EQ(counted.errors, 40 * threads.size());
  EXPECT_EQ(counted.cancelled, 40 * threads.size());
}

TEST_P(UpstreamShards, ANewPolicyHoldsForTheNextCallOfEachThread) {
  Threads threads(static_cast<unsigned>(GetParam()));
  on_each(threads, [&](unsigned) { upstream->call([] {}); });
  policy.timeout = 1s;
  UpstreamAccess::apply(*upstream, policy, false, now());
  on_each(threads, [&](unsigned) {
    const Instant before = now();
    Upstream::Call call = upstream->begin();
    EXPECT_LE(call.deadline(), now() + 1s);
    EXPECT_GE(call.deadline(), before + 1s - 2us);
    call.finish(CallOutcome::ok);
  });
}

TEST_P(UpstreamShards, RetriesAreAShareOfTheCallsOfAllThreads) {
  Threads threads(static_cast<unsigned>(GetParam()));
  const Instant start = now();
  on_each(threads, [&](unsigned) {
    for (int i = 0; i < 200; ++i) upstream->call([] {});
  });
  int granted = 0;
  while (upstream->try_retry()) ++granted;
  EXPECT_GE(granted, 20 * GetParam());
  EXPECT_LE(granted, 20 * GetParam() + 11 + (now() - start) / 1s) << "a tenth of them and one a second";
}

TEST_P(UpstreamShards, ALoweredLimitHoldsForCallsThatAreHeldOnAllThreads) {
  constexpr int kEach = 20;
  Threads threads(static_cast<unsigned>(GetParam()));
  std::vector<std::vector<Upstream::Call>> held(threads.size());
  for (unsigned i = 0; i < threads.size(); ++i) {
    threads.run(
        [&] {
          for (int k = 0; k < kEach; ++k) held[i].push_back(upstream->begin());
        },
        i);
  }
  const int all = kEach * GetParam();
  UpstreamAccess::set_directive(*upstream, 5, now());
  UpstreamAccess::tick(*upstream, {.now = now(), .bulkhead = 5});
  EXPECT_EQ(upstream->in_flight(), all) << "it drains";
  const auto refused = [&](unsigned thread) {
    bool thrown = false;
    threads.run(
        [&] {
          try {
            upstream->begin().finish(CallOutcome::ok);
          } catch (const Rejected&) {
            thrown = true;
          }
        },
        thread);
    return thrown;
  };
  for (int left = all; left > 0; --left) {
    const unsigned last = static_cast<unsigned>(left - 1) / kEach;
    EXPECT_EQ(refused(static_cast<unsigned>(left) % threads.size()), left >= 5) << left << " left";
    // On whichever thread: not the one that began it.
    threads.run([&] { held[last].back().finish(CallOutcome::ok); }, (last + 1) % threads.size());
    held[last].pop_back();
  }
  EXPECT_EQ(upstream->in_flight(), 0);
}

TEST_P(UpstreamShards, WaitsOnAllThreadsAreServedOrCancelledAndNoPlaceIsLost) {
  constexpr int kLimit = 100;
  policy.limit.max = kLimit;
  make();
  Threads threads(static_cast<unsigned>(GetParam()));
  on_each(threads, [&](unsigned) {
    for (int k = 0; k < 10; ++k) upstream->call([] {});
  });
  std::vector<Upstream::Call> held;
  threads.run([&] {
    for (int k = 0; k < kLimit; ++k) held.push_back(upstream->begin());
  });
  std::atomic<int> served{0}, cancelled{0}, seen{0};
  std::atomic<bool> free{false};
  std::vector<std::function<void()>> ends;
  for (unsigned i = 0; i < threads.size(); ++i) {
    ends.push_back(threads.start(
        [&] {
          std::vector<Fiber> fibers;
          for (int k = 0; k < 10; ++k) {
            fibers.push_back(spawn("waits", [&] {
              try {
                upstream->call([] {});
                ++served;
              } catch (const Cancelled&) {
                ++cancelled;
              }
            }));
          }
          EXPECT_TRUE(eventually([&] { return stats().waiting == 10 * GetParam(); }));
          ++seen;
          EXPECT_TRUE(eventually([&] { return free.load(); }));
          // While places are given to the first of all threads.
          for (std::size_t k = 1; k < fibers.size(); k += 2) fibers[k].cancel();
          for (Fiber& fiber : fibers) fiber.join();
        },
        i));
  }
  threads.run([&] {
    EXPECT_TRUE(eventually([&] { return seen == GetParam(); }));
    EXPECT_EQ(served, 0);
    free = true;
    for (Upstream::Call& call : held) call.finish(CallOutcome::ok);
  });
  for (auto& end : ends) end();
  EXPECT_EQ(served + cancelled, 10 * GetParam());
  EXPECT_GE(served, 5 * GetParam());
  const auto counted = stats();
  EXPECT_EQ(counted.in_flight, 0);
  EXPECT_EQ(counted.waiting, 0);
  EXPECT_EQ(counted.cancelled, static_cast<std::uint64_t>(cancelled));
  // Every place is there again.
  threads.run([&] {
    std::vector<Upstream::Call> calls;
    for (int k = 0; k < kLimit; ++k) calls.push_back(upstream->begin());
    for (Upstream::Call& call : calls) call.finish(CallOutcome::ok);
  });
}

TEST_P(UpstreamShards, AThreadThatEndsLeavesItsPlacesToOthers) {
  constexpr int kLimit = 200;
  policy.limit.max = kLimit;
  make();
  for (int round = 0; round < 3; ++round) {
    std::vector<Upstream::Call> outlive;
    {
      Threads threads(static_cast<unsigned>(GetParam()));
      on_each(threads, [&](unsigned) {
        for (int k = 0; k < 50; ++k) upstream->call([] {});
      });
      threads.run([&] { outlive.push_back(upstream->begin()); }, threads.size() - 1);
    }
    EXPECT_EQ(upstream->in_flight(), 1);
    Threads other;
    other.run([&] {
      std::vector<Upstream::Call> calls;
      for (int k = 1; k < kLimit; ++k) calls.push_back(upstream->begin());
      EXPECT_EQ(upstream->in_flight(), kLimit);
      outlive.back().finish(CallOutcome::ok);
      calls.push_back(upstream->begin());
      for (Upstream::Call& call : calls) call.finish(CallOutcome::ok);
    });
    EXPECT_EQ(upstream->in_flight(), 0);
  }
}

// Calls on all threads that end in all ways, some cancelled, some late, while limits, policy and breaker are pushed
// about.
TEST_P(UpstreamShards, NeverHasMoreInFlightThanTheLimitAndCountsAddUp) {
  constexpr int kHighest = 120;
  policy.limit.max = kHighest;
  policy.breaker.usefulness = true;
  make();
  Threads threads(static_cast<unsigned>(GetParam()));
  Occupancy places;
  // What is forced open is closed again before a lease ends: else probes would go past the limit, as they may.
  Mutex forcing;
  std::atomic<int> served{0};
  std::atomic<bool> torn{false};
  on_each(threads, [&](unsigned thread) {
    std::mt19937 random(thread + 5);
    std::vector<Fiber> fibers;
    for (int i = 0; i < 200; ++i) {
      fibers.push_back(spawn("request", [&, choice = random() % 32, pause = random() % 200] {
        for (int round = 0; round < 10; ++round) {
          try {
            DeadlineScope scope(choice == 0 ? now() + 5ms : Instant::max());
            Upstream::Call call = upstream->begin();
            {
              // Ends before the call does, and with it its place.
              const Occupancy::Visit visit(places);
              if (pause % 2 == 0) sleep_for(std::chrono::microseconds(pause));
            }
            ++served;
            if (choice < 4) {
              call.finish(static_cast<CallOutcome>(choice));
            } else {
              call.finish(CallOutcome::ok);
            }
          } catch (const Rejected&) {
          } catch (const Cancelled&) {
            return;
          } catch (const DeadlineExceeded&) {
          }
        }
      }));
    }
    for (std::size_t i = 0; i < fibers.size(); i += 5) {
      sleep_for(100us);
      if (i % 20 == 0) fibers[i].cancel();
      switch (random() % 6) {
        case 0: {
          std::lock_guard guard(forcing);
          UpstreamAccess::release_lease(*upstream, now());
          break;
        }
        case 1:
          UpstreamAccess::apply(*upstream, policy, false, now());
          break;
        default:
          UpstreamAccess::set_directive(*upstream, 1 + static_cast<int>(random() % kHighest), now());
      }
      tick();
      const auto counts = stats();
      if (counts.in_flight < 0 || counts.in_flight > kHighest || counts.ok > counts.attempts) torn = true;
      if (i == 100) {
        std::lock_guard guard(forcing);
        UpstreamAccess::force(*upstream, decision::BreakerForce::open, "test", now());
        UpstreamAccess::force(*upstream, decision::BreakerForce::closed, "test", now());
      }
    }
    UpstreamAccess::set_directive(*upstream, kHighest, now());
    for (Fiber& fiber : fibers) fiber.join();
  });
  EXPECT_LE(places.most(), kHighest);
  EXPECT_GT(served, 100 * GetParam());
  EXPECT_FALSE(torn) << "more in flight than the limit, or more that succeeded than there were";
  const auto counted = stats();
  EXPECT_EQ(counted.in_flight, 0);
  EXPECT_EQ(counted.waiting, 0);
  EXPECT_EQ(counted.oldest, 0s);
  EXPECT_EQ(counted.attempts, counted.ok + counted.errors + counted.timeouts + counted.cancelled + counted.rejected);
}

}  // namespace
}  // namespace penstock
