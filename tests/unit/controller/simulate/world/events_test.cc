#include "controller/simulate/events.h"

#include <gtest/gtest.h>

#include <vector>

#include "controller/simulate/random.h"

namespace penstock::simulate {
namespace {

using namespace std::chrono_literals;

struct Recorder : Actor {
  void happen(std::uint8_t kind, std::uint32_t argument) override { seen.push_back({events->now(), kind, argument}); }
  struct Seen {
    Instant at;
    int kind;
    std::uint32_t argument;
  };
  Events* events = nullptr;
  std::vector<Seen> seen;
};

TEST(Events, HappenInTheOrderOfTheirTimeAndThenOfBeingAskedFor) {
  Events events;
  Recorder recorder;
  recorder.events = &events;
  Random random(1, "events");
  for (std::uint32_t i = 0; i < 1000; ++i) events.at(at(1ms * random.below(50)), recorder, 0, i);
  events.run(at(1s));
  ASSERT_EQ(recorder.seen.size(), 1000u);
  for (std::size_t i = 1; i < recorder.seen.size(); ++i) {
    const auto& before = recorder.seen[i - 1];
    const auto& after = recorder.seen[i];
    EXPECT_TRUE(before.at < after.at || (before.at == after.at && before.argument < after.argument));
  }
  EXPECT_EQ(events.now(), at(1s));
}

TEST(Events, WhatWasTakenBackDoesNotHappen) {
  Events events;
  Recorder recorder;
  recorder.events = &events;
  Generation generation = 0;
  events.at(at(1s), recorder, 1, 0, generation);
  ++generation;
  events.at(at(2s), recorder, 2, 0, generation);
  events.run(at(3s));
  ASSERT_EQ(recorder.seen.size(), 1u);
  EXPECT_EQ(recorder.seen[0].kind, 2);
}

TEST(Random, IsTheSameOnEveryMachine) {
  Random random(42, "test");
  const std::uint64_t first = random.bits();
  EXPECT_EQ(first, Random(42, "test").bits());
  EXPECT_NE(first, Random(43, "test").bits());
  EXPECT_NE(first, Random(42, "other").bits());
}

TEST(Random, DistributionsHaveTheirMoments) {
  Random random(7, "moments");
  constexpr int kDraws = 200'000;
  double exponential = 0, normal = 0, square = 0, below_median = 0, poisson = 0;
  for (int i = 0; i < kDraws; ++i) {
    exponential += random.exponential(3.0);
    const double z = random.normal();
    normal += z;
    square += z * z;
    below_median += random.log_normal(2.0, 0.7) < 2.0;
    poisson += random.poisson(4.0);
  }
  EXPECT_NEAR(exponential / kDraws, 3.0, 0.03);
  EXPECT_NEAR(normal / kDraws, 0.0, 0.01);
  EXPECT_NEAR(square / kDraws, 1.0, 0.02);
  EXPECT_NEAR(below_median / kDraws, 0.5, 0.01);
  EXPECT_NEAR(poisson / kDraws, 4.0, 0.03);
}

}  // namespace
}  // namespace penstock::simulate
