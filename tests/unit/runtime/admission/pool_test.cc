#include "penstock/pool.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "penstock/fiber.h"
#include "penstock/metrics.h"
#include "runtime/admission/pool_access.h"
#include "runtime/fiber/fiber_state.h"
#include "tests/unit/runtime/admission/refusals.h"
#include "tests/unit/runtime/eventually.h"
#include "tests/unit/runtime/fiber/threads.h"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using fiber::Threads;

decision::PoolPolicy policy_with(int limit) {
  decision::PoolPolicy policy;
  policy.min = 1;
  policy.max = 1000;
  policy.fallback_limit = limit;
  policy.queue.discipline = decision::QueueDiscipline::fifo;
  policy.queue.max_wait = 10s;
  return policy;
}

TEST(Pool, APermitIsAPlaceUntilItIsDestroyed) {
  MetricsRegistry metrics;
  auto pool = PoolAccess::make(policy_with(2), metrics);
  Threads threads;
  threads.run([&] {
    {
      Pool::Permit first = pool->acquire();
      Pool::Permit second = pool->acquire();
      EXPECT_EQ(pool->in_flight(), 2);
      Pool::Permit moved = std::move(first);
      EXPECT_FALSE(first);
      EXPECT_TRUE(moved);
      EXPECT_EQ(pool->in_flight(), 2);
      second = Pool::Permit();
      EXPECT_EQ(pool->in_flight(), 1);
    }
    EXPECT_EQ(pool->in_flight(), 0);
    const auto stats = PoolAccess::stats(*pool);
    EXPECT_EQ(stats.admitted, 2u);
    EXPECT_EQ(stats.completed, 2u);
  });
}

// Requests of a tenant, each with its own account.
void ask_as(decision::Tenant tenant, int requests, std::vector<Fiber>& fibers, const std::function<void()>& work) {
  for (int i = 0; i < requests; ++i) {
    fibers.push_back(spawn("request", [tenant, &work] {
      auto account = std::make_shared<fiber::RequestAccount>();
      account->tenant = tenant;
      fiber::set_account(account);
      work();
      fiber::set_account(nullptr);
    }));
  }
}

TEST(Pool, AFloodOfOneTenantDoesNotTakeTheOthersPlaces) {
  MetricsRegistry metrics;
  auto pool = PoolAccess::make(policy_with(4), metrics);
  PoolAccess::set_shares(*pool, {1, 1, 1});
  Threads threads;
  threads.run([&] {
    std::vector<decision::Tenant> order;
    std::vector<Fiber> fibers;
    const std::function<void()> work = [&] {
      Pool::Permit permit = pool->acquire();
      order.push_back(fiber::current().account->tenant);
      sleep_for(20ms);
    };
    ask_as(1, 100, fibers, work);
    for (int turns = 0; pool->queue_length() < 96 && turns < 1000; ++turns) yield();
    EXPECT_EQ(pool->queue_length(), 96);
    ask_as(2, 4, fibers, work);
    for (Fiber& fiber : fibers) fiber.join();
    const auto last = std::find(order.rbegin(), order.rend(), 2);
    // Of each two places one, instead of the last four of 104.
    EXPECT_LT(order.rend() - last, 60);
    EXPECT_EQ(order.size(), 104u);
    for (const auto& share : PoolAccess::shares(*pool)) {
      EXPECT_EQ(share.waiting, 0);
      EXPECT_EQ(share.held, 0);
    }
    EXPECT_EQ(pool->in_flight(), 0);
  });
}

TEST(Pool, AdmitsFibersOnly) {
  MetricsRegistry metrics;
  auto pool = PoolAccess::make(policy_with(1), metrics);
  EXPECT_THROW(pool->acquire(), std::logic_error);
  EXPECT_EQ(pool->in_flight(), 0);
}

TEST(Pool, WhatDoesNotFitWaitsForAPlace) {
  MetricsRegistry metrics;
  auto pool = PoolAccess::make(policy_with(1), metrics);
  Threads threads;
  threads.run([&] {
    Pool::Permit held = pool->acquire();
    bool admitted = false;
    Fiber waiting = spawn("waiting", [&] {
      Pool::Permit permit = pool->acquire();
      admitted = true;
    });
    ASSERT_TRUE(eventually([&] { return pool->queue_length() == 1; }));
    EXPECT_FALSE(admitted);
    held = Pool::Permit();
    waiting.join();
    EXPECT_TRUE(admitted);
  });
  EXPECT_EQ(metrics.histogram("penstock_pool_queue_wait_seconds", "", {{"pool", "default"}}).count(), 2u);
}

TEST(Pool, CriticalRequestsGoFirst) {
  MetricsRegistry metrics;
  auto pool = PoolAccess::make(policy_with(1), metrics);
  Threads threads;
  threads.run([&] {
    Pool::Permit held = pool->acquire();
    std::string order;
    std::vector<Fiber> fibers;
    const std::pair<Priority, char> arrivals[] = {
        {Priority::low, 'l'}, {Priority::normal, 'n'}, {Priority::critical, 'c'}, {Priority::high, 'h'}};
    for (const auto& [priority, letter] : arrivals) {
      fibers.push_back(spawn("request", [&order, &pool, priority = priority, letter = letter] {
        Pool::Permit permit = pool->acquire(priority);
        order += letter;
      }));
    }
    ASSERT_TRUE(eventually([&] { return pool->queue_length() == 4; }));
    held = Pool::Permit();
    for (Fiber& fiber : fibers) fiber.join();
    EXPECT_EQ(order, "chnl");
  });
}

TEST(Pool, AFullQueueRefusesAtOnceWithAHint) {
  decision::PoolPolicy policy = policy_with(1);
  policy.queue.max = 0;
  MetricsRegistry metrics;
  auto pool = PoolAccess::make(policy, metrics);
  Threads threads;
  threads.run([&] {
    Pool::Permit held = pool->acquire();
    EXPECT_EQ(reason_of([&] { pool->acquire(); }), RejectReason::limit);
    EXPECT_EQ(PoolAccess::stats(*pool).rejected[static_cast<int>(RejectReason::limit)], 1u);
  });
}

TEST(Pool, WaitsNoLongerThanTheQueueAllows) {
  decision::PoolPolicy policy = policy_with(1);
  policy.queue.max_wait = 20ms;
  MetricsRegistry metrics;
  auto pool = PoolAccess::make(policy, metrics);
  Threads threads;
  threads.run([&] {
    Pool::Permit held = pool->acquire();
    const Instant start = std::chrono::steady_clock::now();
    EXPECT_EQ(reason_of([&] { pool->acquire(); }), RejectReason::queue_timeout);
    EXPECT_GE(std::chrono::steady_clock::now() - start, 20ms);
    EXPECT_EQ(pool->queue_length(), 0);
    EXPECT_EQ(PoolAccess::stats(*pool).rejected[static_cast<int>(RejectReason::queue_timeout)], 1u);
  });
}

TEST(Pool, WaitsNoLongerThanTheDeadline) {
  MetricsRegistry metrics;
  auto pool = PoolAccess::make(policy_with(1), metrics);
  Threads threads;
  threads.run([&] {
    Pool::Permit held = pool->acquire();
    DeadlineScope scope(std::chrono::steady_clock::now() + 20ms);
    EXPECT_EQ(reason_of([&] { pool->acquire(); }), RejectReason::deadline);
    EXPECT_EQ(pool->queue_length(), 0);
    EXPECT_EQ(pool->in_flight(), 1);
  });
}

TEST(Pool, ACancelledWaitLeavesNoTrace) {
  MetricsRegistry metrics;
  auto pool = PoolAccess::make(policy_with(1), metrics);
  Threads threads;
  threads.run([&] {
    Pool::Permit held = pool->acquire();
    bool cancelled = false;
    Fiber waiting = spawn("waiting", [&] {
      try {
        pool->acquire();
      } catch (const Cancelled&) {
        cancelled = true;
      }
    });
    ASSERT_TRUE(eventually([&] { return pool->queue_length() == 1; }));
    waiting.cancel();
    waiting.join();
    EXPECT_TRUE(cancelled);
    EXPECT_EQ(pool->queue_length(), 0);
    held = Pool::Permit();
    EXPECT_EQ(pool->in_flight(), 0);
    for (std::uint64_t rejected : PoolAccess::stats(*pool).rejected) EXPECT_EQ(rejected, 0u);
  });
}

TEST(Pool, ALoweredLimitDrainsAndARaisedOneServesTheQueueAtOnce) {
  MetricsRegistry metrics;
  auto pool = PoolAccess::make(policy_with(4), metrics);
  Threads threads;
  threads.run([&] {
    std::vector<Pool::Permit> held;
    for (int i = 0; i < 4; ++i) held.push_back(pool->acquire());
    pool->set_limit(2);
    EXPECT_EQ(pool->in_flight(), 4);
    int admitted = 0;
    std::vector<Fiber> fibers;
    bool leave = false;
    for (int i = 0; i < 3; ++i) {
      fibers.push_back(spawn("request", [&] {
        Pool::Permit permit = pool->acquire();
        ++admitted;
        eventually([&] { return leave; });
      }));
    }
    ASSERT_TRUE(eventually([&] { return pool->queue_length() == 3; }));
    held.pop_back();
    held.pop_back();
    EXPECT_EQ(pool->in_flight(), 2);
    EXPECT_EQ(pool->queue_length(), 3);
    pool->set_limit(5);
    EXPECT_EQ(pool->in_flight(), 5);
    EXPECT_TRUE(eventually([&] { return admitted == 3; }));
    leave = true;
    for (Fiber& fiber : fibers) fiber.join();
  });
}

TEST(Pool, AnImposedLimitStaysWithinMaxAndMemoryAndEndsWithTheLease) {
  decision::PoolPolicy policy = policy_with(10);
  policy.max = 100;
  policy.memory_bytes = 1 << 20;
  MetricsRegistry metrics;
  auto pool = PoolAccess::make(policy, metrics);
  EXPECT_EQ(pool->limit(), 10);
  pool->set_limit(1000);
  EXPECT_EQ(pool->limit(), 32) << "1 MiB at the assumed 32 KiB";
  PoolAccess::tick(*pool, std::chrono::steady_clock::now(), 64 * 1024);
  EXPECT_EQ(pool->limit(), 16);
  EXPECT_THROW(pool->set_limit(0), std::invalid_argument);
  PoolAccess::release_limit(*pool);
  EXPECT_EQ(pool->limit(), 10);
}

TEST(Pool, AShadowPolicyRefusesNothingAndShowsWhatItWould) {
  MetricsRegistry metrics;
  auto pool = PoolAccess::make(policy_with(10), metrics);
  pool->set_limit(1);
  PoolAccess::apply(*pool, policy_with(10), true);
  EXPECT_EQ(pool->limit(), 1);
  Threads threads(1);
  threads.run([&] {
    std::vector<Pool::Permit> permits;
    for (int i = 0; i < 5; ++i) permits.push_back(pool->acquire());
    EXPECT_EQ(pool->in_flight(), 5);
  });
  PoolAccess::apply(*pool, policy_with(10), false);
  EXPECT_EQ(pool->limit(), 1);
}

class PoolOnThreads : public testing::TestWithParam<int> {};
INSTANTIATE_TEST_SUITE_P(Sweep, PoolOnThreads, testing::Values(1, 2, 4));

// Requests come and go on all threads, some are cancelled, some give up, and the limit moves meanwhile.
TEST_P(PoolOnThreads, NeverHasMoreInFlightThanTheLimitAndLosesNoPlace) {
  constexpr int kHighest = 8;
  decision::PoolPolicy policy = policy_with(kHighest);
  MetricsRegistry metrics;
  auto pool = PoolAccess::make(policy, metrics);
  Threads threads(GetParam());
  Occupancy places;
  std::atomic<int> served{0};
  std::vector<std::function<void()>> ends;
  for (unsigned thread = 0; thread < threads.size(); ++thread) {
    ends.push_back(threads.start(
        [&, thread] {
          std::mt19937 random(thread);
          std::vector<Fiber> fibers;
          for (int i = 0; i < 150; ++i) {
            fibers.push_back(spawn("request", [&, choice = random() % 8, pause = random() % 300] {
              try {
                DeadlineScope scope(choice == 0 ? std::chrono::steady_clock::now() + 2ms : Instant::max());
                for (int round = 0; round < 5; ++round) {
                  Pool::Permit permit = pool->acquire(static_cast<Priority>(choice % 4));
                  const Occupancy::Visit visit(places);
                  sleep_for(std::chrono::microseconds(pause));
                  ++served;
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
            pool->set_limit(1 + static_cast<int>(random() % kHighest));
          }
          pool->set_limit(kHighest);
          for (Fiber& fiber : fibers) fiber.join();
        },
        thread));
  }
  for (auto& end : ends) end();
  EXPECT_LE(places.most(), kHighest);
  EXPECT_GT(served, 100 * GetParam());
  EXPECT_EQ(pool->in_flight(), 0);
  EXPECT_EQ(pool->queue_length(), 0);
  const auto stats = PoolAccess::stats(*pool);
  EXPECT_EQ(stats.admitted, stats.completed);
}

}  // namespace
}  // namespace penstock
