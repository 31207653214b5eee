#include "penstock/decision/pool_sizing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

namespace penstock::decision {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;

constexpr std::int64_t kMiB = 1 << 20;

PoolPolicy policy() { return {.memory_bytes = 2048 * kMiB}; }

TEST(PoolSize, IsLittlesLawWithHeadroomAndRoomForTheReaction) {
  const PoolSize size = size_pool(policy(), {.rate = 151.2, .latency = milliseconds(148), .in_flight = 21}, 900);
  EXPECT_EQ(size.limit, 1557);
  EXPECT_EQ(size.bound, "demand");
  EXPECT_THAT(size.steps,
              ElementsAre("rate 151.2/s x latency 148 ms = 22.4 in flight", "x headroom 2 = 44.8",
                          "+ rate x reaction 10 s = 1512",
                          "= 1557 -> within [64, 20000], memory 2.0 GiB / 32 KiB = 65536", "limit 1557 (demand)"));
}

TEST(PoolSize, FollowsALatencyOfFiveSeconds) {
  const PoolSize size = size_pool(policy(), {.rate = 150, .latency = seconds(5), .in_flight = 740}, 1557);
  EXPECT_EQ(size.limit, 2 * 750 + 1500);
  EXPECT_EQ(size.steps.front(), "rate 150.0/s x latency 5 s = 750.0 in flight");
}

TEST(PoolSize, TakesWhatIsInFlightWhenThatIsMore) {
  const PoolSize size = size_pool(policy(), {.rate = 10, .latency = milliseconds(100), .in_flight = 500}, 600);
  EXPECT_EQ(size.limit, 2 * 500 + 100);
  EXPECT_THAT(size.steps, testing::Contains("measured in flight 500.0 is more"));
}

TEST(PoolSize, StaysWithinMinAndMax) {
  EXPECT_EQ(size_pool(policy(), {}, 64).limit, 64);
  EXPECT_EQ(size_pool(policy(), {}, 64).bound, "min");
  const PoolSize size = size_pool(policy(), {.rate = 5000, .latency = seconds(5)}, 64);
  EXPECT_EQ(size.limit, 20000);
  EXPECT_EQ(size.bound, "max");
}

TEST(PoolSize, StaysWithinTheMemory) {
  PoolPolicy small = policy();
  small.memory_bytes = 64 * kMiB;
  const PoolSize size =
      size_pool(small, {.rate = 1000, .latency = seconds(1), .in_flight = 0, .bytes_per_request = 64 * 1024}, 64);
  EXPECT_EQ(size.limit, 1024);
  EXPECT_EQ(size.bound, "memory");
  // Also where that is less than min.
  small.memory_bytes = kMiB;
  EXPECT_EQ(size_pool(small, {.bytes_per_request = 64 * 1024}, 64).limit, 16);
}

TEST(PoolSize, DoesNotGrowOnASaturatedCpuButShrinks) {
  PoolObservation observed{.rate = 150, .latency = seconds(5), .cpu = 0.97};
  PoolSize size = size_pool(policy(), observed, 800);
  EXPECT_EQ(size.limit, 800);
  EXPECT_EQ(size.bound, "cpu");
  EXPECT_EQ(size_pool(policy(), observed, 5000).limit, 3000);
  observed.cpu = 0.95;
  EXPECT_EQ(size_pool(policy(), observed, 800).limit, 3000);
  observed.cpu = 1.0;
  EXPECT_EQ(size_pool(policy(), observed, 3).limit, 64);
}

TEST(PoolSize, HoldsOnGarbage) {
  const PoolSize size = size_pool(policy(), {.rate = std::numeric_limits<double>::quiet_NaN()}, 777);
  EXPECT_EQ(size.limit, 777);
  EXPECT_EQ(size.bound, "hold");
  EXPECT_EQ(size_pool(policy(), {.rate = 1, .latency = seconds(-1)}, 777).limit, 777);
  EXPECT_EQ(size_pool(policy(), {.rate = std::numeric_limits<double>::infinity()}, 777).limit, 777);
}

TEST(FallbackLimit, IsMaxOrWhatThePolicySaysWithinTheMemory) {
  EXPECT_EQ(fallback_limit(policy(), 32 * 1024), 20000);
  EXPECT_EQ(fallback_limit(policy(), 1024 * 1024), 2048);
  PoolPolicy declared = policy();
  declared.fallback_limit = 1000;
  EXPECT_EQ(fallback_limit(declared, 32 * 1024), 1000);
  EXPECT_EQ(fallback_limit(declared, 1024 * kMiB), 2);
}

TEST(Bulkhead, IsAShareOfTheMemoryThatIsLeft) {
  UpstreamPolicy upstream;
  upstream.limit = {.min = 4, .max = 5000};
  EXPECT_EQ(bulkhead(upstream, 64 * kMiB, 0, 32 * 1024), 1740);
  EXPECT_EQ(bulkhead(upstream, 64 * kMiB, 32 * kMiB, 32 * 1024), 870);
  EXPECT_EQ(bulkhead(upstream, 64 * kMiB, 65 * kMiB, 32 * 1024), 4);
  EXPECT_EQ(bulkhead(upstream, 4096 * kMiB, 0, 32 * 1024), 5000);
}

}  // namespace
}  // namespace penstock::decision
