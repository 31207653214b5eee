#include "runtime/telemetry/shards.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <functional>
#include <random>
#include <set>
#include <thread>
#include <vector>

#include "penstock/metrics.h"
#include "tests/unit/runtime/eventually.h"
#include "tests/unit/runtime/fiber/threads.h"

namespace penstock {
namespace {

using fiber::Threads;
using telemetry::shard;
using telemetry::shard_count;

TEST(Shards, PlainThreadsShareTheLastOne) {
  std::thread([] {
    EXPECT_EQ(shard().index, shard_count() - 1);
    EXPECT_FALSE(shard().own);
  }).join();
}

TEST(Shards, SchedulerThreadsHaveOneEachAndGiveItBack) {
  const auto last = static_cast<std::uint32_t>(shard_count() - 1);
  std::vector<std::multiset<std::uint32_t>> rounds(3);
  for (auto& taken : rounds) {
    // More than there are.
    Threads threads(last + 2);
    for (unsigned i = 0; i < threads.size(); ++i) {
      threads.run(
          [&] {
            const auto mine = shard();
            EXPECT_EQ(mine.own, mine.index != last);
            EXPECT_EQ(shard().index, mine.index);
            taken.insert(mine.index);
          },
          i);
    }
    for (std::uint32_t i = 0; i < last; ++i) EXPECT_LE(taken.count(i), 1u);
    EXPECT_GE(taken.count(last), 2u);
    EXPECT_EQ(taken, rounds.front());
  }
  EXPECT_LT(rounds.front().count(last), rounds.front().size());
}

TEST(Shards, NothingIsLostBetweenThreadsWithAndWithoutTheirOwn) {
  constexpr int kEach = 20'000;
  MetricsRegistry metrics;
  Counter& counter = metrics.counter("app_calls_total", "Calls.");
  Histogram& histogram = metrics.histogram("app_seconds", "Time.");
  const auto work = [&] {
    for (int i = 0; i < kEach; ++i) {
      counter.add();
      histogram.observe(std::chrono::milliseconds(i % 100), 2);
    }
  };
  Threads threads(8);
  std::vector<std::function<void()>> ends;
  for (unsigned i = 0; i < threads.size(); ++i) ends.push_back(threads.start(work, i));
  std::vector<std::thread> plain;
  for (int i = 0; i < 3; ++i) plain.emplace_back(work);
  for (std::thread& thread : plain) thread.join();
  for (auto& end : ends) end();
  EXPECT_EQ(counter.value(), 11.0 * kEach);
  EXPECT_EQ(histogram.count(), 22u * kEach);
}

TEST(Histogram, FindsTheBucketThatASearchWouldFind) {
  const double huge = 1e12;
  const std::vector<std::vector<double>> all_edges = {{},
                                                      {0.1},
                                                      {-1, 0, 1e-9, 2e-9, 3e-9, 0.5, huge},
                                                      {0.3, 0.1 + 0.2 + 1e-16, 0.7, 1.1, 2.2, 3.3},
                                                      {1e-6, 1.0000001e-6, 1.5e-6, 1, 1.000000001, 1.000000002}};
  std::mt19937_64 random(5);
  for (const auto& given : all_edges) {
    MetricsRegistry metrics;
    Histogram& histogram = metrics.histogram("app_seconds", "Time.", {}, given);
    const std::vector<double>& edges = histogram.edges();
    std::vector<std::uint64_t> wanted(edges.size() + 1);
    const auto observe = [&](std::int64_t ns) {
      const decision::Duration value(ns);
      ++wanted[std::lower_bound(edges.begin(), edges.end(), decision::seconds(value)) - edges.begin()];
      histogram.observe(value);
    };
    for (std::int64_t ns : {std::int64_t{0}, std::int64_t{1}, std::int64_t{-1}, std::int64_t{-2'000'000'000}})
      observe(ns);
    for (double edge : edges) {
      if (std::abs(edge) > 1e9) continue;
      const auto ns = static_cast<std::int64_t>(edge * 1e9);
      for (std::int64_t off = -2; off <= 2; ++off) observe(ns + off);
    }
    for (int i = 0; i < 20'000; ++i) observe(static_cast<std::int64_t>(random() >> (1 + random() % 63)));
    EXPECT_EQ(histogram.buckets(), wanted);
  }
}

}  // namespace
}  // namespace penstock
