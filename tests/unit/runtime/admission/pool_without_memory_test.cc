#include <gtest/gtest.h>

#include <chrono>
#include <memory>
#include <new>
#include <optional>
#include <vector>

#include "penstock/fiber.h"
#include "penstock/metrics.h"
#include "penstock/pool.h"
#include "runtime/admission/pool_access.h"
#include "tests/unit/decision/allocation_count.h"
#include "tests/unit/runtime/eventually.h"
#include "tests/unit/runtime/fiber/threads.h"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using decision::NoMemory;
using fiber::Threads;

class PoolOfOne : public testing::Test {
 protected:
  PoolOfOne() {
    decision::PoolPolicy policy;
    policy.min = 1;
    policy.max = 1;
    policy.fallback_limit = 1;
    policy.queue.discipline = decision::QueueDiscipline::fifo;
    policy.queue.max_wait = 10s;
    pool = PoolAccess::make(policy, metrics);
  }
  MetricsRegistry metrics;
  std::unique_ptr<Pool> pool;
};

TEST_F(PoolOfOne, WithoutMemoryAPlaceGoesToWhoWaitsForIt) {
  Threads threads;
  threads.run([&] {
    std::optional<Pool::Permit> held = pool->acquire();
    int admitted = 0;
    std::vector<Fiber> waiting;
    for (int i = 0; i < 3; ++i) {
      waiting.push_back(spawn("waiting", [&] {
        Pool::Permit permit = pool->acquire();
        ++admitted;
        const NoMemory none;
        permit = Pool::Permit();
      }));
    }
    ASSERT_TRUE(eventually([&] { return pool->queue_length() == 3; }));
    {
      const NoMemory none;
      held.reset();
    }
    for (Fiber& fiber : waiting) fiber.join();
    EXPECT_EQ(admitted, 3);
  });
  EXPECT_EQ(pool->in_flight(), 0);
}

TEST_F(PoolOfOne, WhoFindsNoMemoryToWaitLeavesNoTrace) {
  Threads threads;
  threads.run([&] {
    std::optional<Pool::Permit> held = pool->acquire();
    const auto ask = [&] {
      const NoMemory none;
      pool->acquire();
    };
    EXPECT_THROW(ask(), std::bad_alloc);
    EXPECT_EQ(pool->queue_length(), 0);
    held.reset();
    EXPECT_TRUE(pool->acquire());
  });
}

}  // namespace
}  // namespace penstock
