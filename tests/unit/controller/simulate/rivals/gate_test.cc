#include "controller/simulate/rivals/gate.h"

#include <gtest/gtest.h>

#include "controller/simulate/rivals/counted.h"
#include "controller/simulate/rivals/failsafe_queue.h"
#include "tests/unit/controller/simulate/rivals/steps.h"

namespace penstock::simulate {
namespace {

using Answer = Gate::Answer;
using decision::RejectReason;

Gate::Parts places(int count) { return {.limiter = std::make_unique<FixedLimiter>(count)}; }

Gate::Decision arrive(Gate& gate, std::uint32_t id, double now, double chance = 0.5) {
  return gate.arrive({.id = id, .priority = decision::Priority::normal, .chance = chance}, at(now));
}

TEST(Gate, WithoutALimiterEveryoneGoesThrough) {
  Gate gate({});
  for (std::uint32_t id = 0; id < 1000; ++id) EXPECT_EQ(arrive(gate, id, 1).answer, Answer::through);
  EXPECT_EQ(gate.in_flight(), 1000);
}

TEST(Gate, WithoutALineTheLimiterRefuses) {
  Gate gate(places(1));
  EXPECT_EQ(arrive(gate, 1, 1).answer, Answer::through);
  EXPECT_EQ(arrive(gate, 2, 1).answer, Answer::refused);
  gate.ended(1, Fate::ok, at(2));
  EXPECT_FALSE(gate.next(at(2)));
  EXPECT_EQ(arrive(gate, 3, 2).answer, Answer::through);
}

TEST(Gate, WhoWaitsGoesOnWhenAPlaceIsFree) {
  Gate::Parts parts = places(1);
  parts.line = Line::Rule{.max = 2};
  Gate gate(std::move(parts));
  arrive(gate, 1, 1);
  EXPECT_EQ(arrive(gate, 2, 1).answer, Answer::waits);
  EXPECT_EQ(arrive(gate, 3, 1).answer, Answer::waits);
  EXPECT_EQ(arrive(gate, 4, 1).answer, Answer::refused);
  EXPECT_FALSE(gate.next(at(1)));
  EXPECT_TRUE(gate.leave(2, at(1)));
  EXPECT_FALSE(gate.leave(1, at(1)));
  gate.ended(1, Fate::ok, at(2));
  const auto moved = gate.next(at(2));
  ASSERT_TRUE(moved);
  EXPECT_EQ(moved->id, 3u);
  EXPECT_FALSE(moved->refused);
  EXPECT_FALSE(gate.next(at(2)));
  EXPECT_EQ(gate.in_flight(), 1);
}

TEST(Gate, WhoWaitsTooLongIsTurnedAway) {
  Gate::Parts parts = places(1);
  parts.line = Line::Rule{.max_wait = std::chrono::seconds(1)};
  Gate gate(std::move(parts));
  arrive(gate, 1, 1);
  arrive(gate, 2, 1);
  EXPECT_FALSE(gate.next(at(1.9)));
  const auto moved = gate.next(at(2));
  ASSERT_TRUE(moved);
  EXPECT_EQ(moved->refused, RejectReason::queue_timeout);
  EXPECT_FALSE(gate.next(at(2)));
}

TEST(Gate, ItsShedderSeesTheQueue) {
  Gate::Parts parts = places(10);
  parts.line = Line::Rule{};
  parts.shedder = std::make_unique<FailsafeQueue>();
  Gate gate(std::move(parts));
  std::uint32_t id = 0;
  for (; id < 10; ++id) EXPECT_EQ(arrive(gate, id, 1, 0).answer, Answer::through);
  for (; id < 31; ++id) EXPECT_EQ(arrive(gate, id, 1, 0).answer, Answer::waits);
  // 21 of 20 to 30 wait: a tenth is refused.
  EXPECT_EQ(arrive(gate, id, 1, 0.11).answer, Answer::waits);
  EXPECT_EQ(arrive(gate, ++id, 1, 0.11).reason, RejectReason::shed);
}

}  // namespace
}  // namespace penstock::simulate
