#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <random>
#include <vector>

#include "penstock/fiber.h"
#include "penstock/metrics.h"
#include "penstock/pool.h"
#include "runtime/admission/pool_access.h"
#include "tests/unit/runtime/admission/refusals.h"
#include "tests/unit/runtime/eventually.h"
#include "tests/unit/runtime/fiber/threads.h"

// A pool whose places threads hand out by themselves is still one pool.
namespace penstock {
namespace {

using namespace std::chrono_literals;
using fiber::Threads;

decision::PoolPolicy policy_with(int limit, int queue = 10'000) {
  decision::PoolPolicy policy;
  policy.min = 1;
  policy.max = 100'000;
  policy.memory_bytes = std::int64_t{1} << 40;
  policy.fallback_limit = limit;
  policy.queue.discipline = decision::QueueDiscipline::fifo;
  policy.queue.max = queue;
  policy.queue.max_wait = 30s;
  return policy;
}

void come_and_go(Pool& pool, int times) {
  for (int i = 0; i < times; ++i) Pool::Permit permit = pool.acquire();
}

class PoolShards : public testing::TestWithParam<int> {
 protected:
  // Runs fn(thread) as a fiber on each thread.
  static void on_each(Threads& threads, const std::function<void(unsigned)>& fn) {
    std::vector<std::function<void()>> ends;
    for (unsigned i = 0; i < threads.size(); ++i) ends.push_back(threads.start([&fn, i] { fn(i); }, i));
    for (auto& end : ends) end();
  }

  MetricsRegistry metrics;
};
INSTANTIATE_TEST_SUITE_P(Sweep, PoolShards, testing::Values(1, 2, 4, 8));

TEST_P(PoolShards, WhilePlacesAreFreeNobodyTakesTheCommonLock) {
  auto pool = PoolAccess::make(policy_with(1000), metrics);
  Threads threads(static_cast<unsigned>(GetParam()));
  std::atomic<int> warm{0};
  std::atomic<std::uint64_t> before{0};
  on_each(threads, [&](unsigned thread) {
    come_and_go(*pool, 1);
    ++warm;
    ASSERT_TRUE(eventually([&] { return warm >= GetParam(); }));
    if (thread == 0) before = PoolAccess::slow_paths(*pool);
    ++warm;
    ASSERT_TRUE(eventually([&] { return warm >= 2 * GetParam(); }));
    come_and_go(*pool, 10'000);
  });
  // More threads than shards share the last one, where one may find the places of another in use.
  if (GetParam() <= 4) {
    EXPECT_EQ(PoolAccess::slow_paths(*pool), before);
  }
  const auto stats = PoolAccess::stats(*pool);
  EXPECT_EQ(stats.admitted, 10'001u * static_cast<unsigned>(GetParam()));
  EXPECT_EQ(stats.completed, stats.admitted);
  EXPECT_EQ(stats.in_flight, 0);
}

TEST_P(PoolShards, NobodyIsRefusedWhileAPlaceIsIdleElsewhere) {
  constexpr int kLimit = 500;
  auto pool = PoolAccess::make(policy_with(kLimit, 0), metrics);
  Threads threads(static_cast<unsigned>(GetParam()));
  for (unsigned round = 0; round < 3; ++round) {
    // Each thread has held many, and keeps what it gave back.
    for (unsigned i = 0; i < threads.size(); ++i) {
      threads.run(
          [&] {
            std::vector<Pool::Permit> permits;
            for (int k = 0; k < kLimit; ++k) permits.push_back(pool->acquire());
          },
          i);
    }
    EXPECT_EQ(pool->in_flight(), 0);
    threads.run(
        [&] {
          std::vector<Pool::Permit> permits;
          for (int k = 0; k < kLimit; ++k) permits.push_back(pool->acquire());
          EXPECT_EQ(pool->in_flight(), kLimit);
          EXPECT_THROW(pool->acquire(), Rejected);
          permits.pop_back();
          permits.push_back(pool->acquire());
        },
        round % threads.size());
  }
}

TEST_P(PoolShards, ALoweredLimitHoldsAtOnce) {
  auto pool = PoolAccess::make(policy_with(1000, 0), metrics);
  Threads threads(static_cast<unsigned>(GetParam()));
  on_each(threads, [&](unsigned) { come_and_go(*pool, 100); });
  pool->set_limit(3);
  std::vector<Pool::Permit> permits;
  for (unsigned i = 0; i < threads.size(); ++i) {
    threads.run(
        [&] {
          try {
            while (permits.size() < 10) permits.push_back(pool->acquire());
          } catch (const Rejected&) {
          }
        },
        i);
  }
  EXPECT_EQ(permits.size(), 3u);
  // Also from a thread that has no scheduler.
  permits.clear();
  EXPECT_EQ(pool->in_flight(), 0);
}

TEST_P(PoolShards, WhoWaitsIsServedInOrderByTheNextThatEndsAnywhere) {
  constexpr int kLimit = 100;
  constexpr int kWaiting = 5;
  auto pool = PoolAccess::make(policy_with(kLimit), metrics);
  Threads threads(static_cast<unsigned>(GetParam()));
  on_each(threads, [&](unsigned) { come_and_go(*pool, 10); });
  std::atomic<int> ending{-1};
  std::atomic<bool> leave{false};
  std::atomic<int> held{0};
  std::vector<std::function<void()>> ends;
  for (int i = 0; i < GetParam(); ++i) {
    ends.push_back(threads.start(
        [&, i] {
          std::vector<Pool::Permit> permits;
          for (int k = 0; k < kLimit / GetParam(); ++k) permits.push_back(pool->acquire());
          held += static_cast<int>(permits.size());
          for (int k = i; k < kWaiting; k += GetParam()) {
            EXPECT_TRUE(eventually([&] { return ending >= k; }));
            permits.pop_back();
          }
          EXPECT_TRUE(eventually([&] { return leave.load(); }));
        },
        static_cast<unsigned>(i)));
  }
  std::vector<int> order;
  threads.run([&] {
    ASSERT_TRUE(eventually([&] { return held == kLimit / GetParam() * GetParam(); }));
    std::vector<Pool::Permit> rest;
    while (pool->in_flight() < kLimit) rest.push_back(pool->acquire());
    std::vector<Fiber> fibers;
    for (int i = 0; i < kWaiting; ++i) {
      fibers.push_back(spawn("waits", [&, i] {
        Pool::Permit permit = pool->acquire();
        order.push_back(i);
        EXPECT_TRUE(eventually([&] { return leave.load(); }));
      }));
      ASSERT_TRUE(eventually([&] { return pool->queue_length() == i + 1; }));
    }
    std::vector<int> served;
    for (int i = 0; i < kWaiting; ++i) {
      ending = i;
      served.push_back(i);
      EXPECT_TRUE(eventually([&] { return order == served; }));
      EXPECT_EQ(pool->queue_length(), kWaiting - 1 - i);
    }
    leave = true;
    for (Fiber& fiber : fibers) fiber.join();
  });
  for (auto& end : ends) end();
  EXPECT_EQ(pool->in_flight(), 0);
}

TEST_P(PoolShards, ALoweredLimitHoldsWhilePermitsAreHeldOnAllThreads) {
  constexpr int kEach = 20;
  auto pool = PoolAccess::make(policy_with(1000, 0), metrics);
  Threads threads(static_cast<unsigned>(GetParam()));
  std::vector<Pool::Permit> held;
  for (unsigned i = 0; i < threads.size(); ++i) {
    threads.run(
        [&] {
          for (int k = 0; k < kEach; ++k) held.push_back(pool->acquire());
        },
        i);
  }
  pool->set_limit(5);
  EXPECT_EQ(pool->in_flight(), kEach * GetParam()) << "it drains";
  while (!held.empty()) {
    bool refused = false;
    threads.run(
        [&] {
          try {
            pool->acquire();
          } catch (const Rejected&) {
            refused = true;
          }
        },
        static_cast<unsigned>(held.size()) % threads.size());
    EXPECT_EQ(refused, held.size() >= 5) << held.size() << " left";
    // On whichever thread.
    threads.run([&] { held.pop_back(); }, static_cast<unsigned>(held.size() / 3) % threads.size());
  }
  pool->set_limit(1000);
  EXPECT_EQ(pool->in_flight(), 0);
}

TEST_P(PoolShards, WaitsOnAllThreadsAreServedOrCancelledAndNoPlaceIsLost) {
  constexpr int kLimit = 100;
  auto pool = PoolAccess::make(policy_with(kLimit), metrics);
  Threads threads(static_cast<unsigned>(GetParam()));
  on_each(threads, [&](unsigned) { come_and_go(*pool, 10); });
  std::vector<Pool::Permit> held;
  threads.run([&] {
    for (int k = 0; k < kLimit; ++k) held.push_back(pool->acquire());
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
                Pool::Permit permit = pool->acquire();
                ++served;
              } catch (const Cancelled&) {
                ++cancelled;
              }
            }));
          }
          EXPECT_TRUE(eventually([&] { return pool->queue_length() == 10 * GetParam(); }));
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
    held.clear();
  });
  for (auto& end : ends) end();
  EXPECT_EQ(served + cancelled, 10 * GetParam());
  EXPECT_GE(served, 5 * GetParam());
  EXPECT_EQ(pool->in_flight(), 0);
  EXPECT_EQ(pool->queue_length(), 0);
  // Every place is there again.
  threads.run([&] {
    for (int k = 0; k < kLimit; ++k) held.push_back(pool->acquire());
    held.clear();
  });
}

TEST_P(PoolShards, AThreadThatEndsLeavesItsPlacesToOthers) {
  constexpr int kLimit = 200;
  auto pool = PoolAccess::make(policy_with(kLimit, 0), metrics);
  for (int round = 0; round < 3; ++round) {
    std::vector<Pool::Permit> outlive;
    {
      Threads threads(static_cast<unsigned>(GetParam()));
      on_each(threads, [&](unsigned) { come_and_go(*pool, 50); });
      threads.run([&] { outlive.push_back(pool->acquire()); }, threads.size() - 1);
    }
    EXPECT_EQ(pool->in_flight(), 1);
    Threads other;
    other.run([&] {
      std::vector<Pool::Permit> permits;
      for (int k = 1; k < kLimit; ++k) permits.push_back(pool->acquire());
      EXPECT_THROW(pool->acquire(), Rejected);
      outlive.clear();
      permits.push_back(pool->acquire());
    });
    EXPECT_EQ(pool->in_flight(), 0);
  }
}

// Requests come and go on all threads, some are cancelled, some give up; limits that let shards open and limits that do
// not follow each other.
TEST_P(PoolShards, NeverHasMoreInFlightThanTheLimitAndCountsAddUp) {
  constexpr int kHighest = 120;
  auto pool = PoolAccess::make(policy_with(kHighest), metrics);
  Threads threads(static_cast<unsigned>(GetParam()));
  Occupancy places;
  std::atomic<int> served{0};
  std::atomic<bool> torn{false};
  on_each(threads, [&](unsigned thread) {
    std::mt19937 random(thread + 17);
    std::vector<Fiber> fibers;
    for (int i = 0; i < 200; ++i) {
      fibers.push_back(spawn("request", [&, choice = random() % 8, pause = random() % 200] {
        try {
          DeadlineScope scope(choice == 0 ? std::chrono::steady_clock::now() + 5ms : Instant::max());
          for (int round = 0; round < 10; ++round) {
            Pool::Permit permit = pool->acquire(static_cast<Priority>(choice % 4));
            const Occupancy::Visit visit(places);
            if (pause % 2 == 0) sleep_for(std::chrono::microseconds(pause));
            ++served;
          }
        } catch (const Rejected&) {
        } catch (const Cancelled&) {
        } catch (const DeadlineExceeded&) {
        }
      }));
    }
    for (std::size_t i = 0; i < fibers.size(); i += 5) {
      sleep_for(100us);
      if (i % 20 == 0) fibers[i].cancel();
      pool->set_limit(1 + static_cast<int>(random() % kHighest));
      PoolAccess::tick(*pool, std::chrono::steady_clock::now(), 32 * 1024);
      const auto stats = PoolAccess::stats(*pool);
      if (stats.admitted != stats.completed + static_cast<std::uint64_t>(stats.in_flight)) torn = true;
    }
    pool->set_limit(kHighest);
    for (Fiber& fiber : fibers) fiber.join();
  });
  EXPECT_LE(places.most(), kHighest);
  EXPECT_GT(served, 500 * GetParam());
  EXPECT_FALSE(torn) << "admitted is not completed and in flight";
  EXPECT_EQ(pool->in_flight(), 0);
  EXPECT_EQ(pool->queue_length(), 0);
  const auto stats = PoolAccess::stats(*pool);
  EXPECT_EQ(stats.admitted, stats.completed);
}

TEST(PoolRefusal, OfAFullQueueCostsMicroseconds) {
  MetricsRegistry metrics;
  auto pool = PoolAccess::make(policy_with(50, 0), metrics);
  Threads threads;
  threads.run([&] {
    std::vector<Pool::Permit> permits;
    for (int i = 0; i < 50; ++i) permits.push_back(pool->acquire());
    std::vector<Duration> took;
    for (int i = 0; i < 1001; ++i) {
      const Instant start = std::chrono::steady_clock::now();
      EXPECT_THROW(pool->acquire(), Rejected);
      took.push_back(std::chrono::steady_clock::now() - start);
    }
    std::nth_element(took.begin(), took.begin() + 500, took.end());
    EXPECT_LT(took[500], 200us) << "a few, but for sanitizers";
  });
}

}  // namespace
}  // namespace penstock
