#include "runtime/admission/node_door.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <vector>

#include "penstock/fiber.h"
#include "tests/unit/runtime/admission/refusals.h"
#include "tests/unit/runtime/eventually.h"
#include "tests/unit/runtime/fiber/threads.h"

namespace penstock {
namespace {

using namespace std::chrono_literals;
using decision::GuardMode;
using decision::Priority;
using fiber::Threads;

Instant now() { return std::chrono::steady_clock::now(); }

void burn(Duration cpu) {
  for (const Instant until = now() + cpu; now() < until;) {
  }
}

// The door of a node with one scheduler thread.
class DoorOfOneThread : public testing::Test {
 protected:
  DoorOfOneThread() {
    door.open(1, [this](unsigned, std::string_view name, std::function<void()> fn) {
      // As a fiber that found no memory for its stack: it ends without having begun.
      if (refused_fibers > 0 && refused_fibers-- > 0) return;
      threads[0].spawn(name, std::move(fn));
    });
  }

  // `requests` come at once, each enters and then uses that much CPU, in turns of a millisecond. The most that were
  // begun and not ended.
  int most_at_once(int requests, Duration cpu) {
    int inside = 0, most = 0;
    threads.run([&] {
      std::vector<Fiber> fibers;
      for (int i = 0; i < requests; ++i) {
        fibers.push_back(spawn("request", [&] {
          door.enter(Priority::normal);
          most = std::max(most, ++inside);
          for (Duration used{}; used < cpu; used += 1ms) {
            burn(1ms);
            yield();
          }
          --inside;
        }));
      }
      burn(NodeDoor::kSaturated + 5ms);
      for (Fiber& fiber : fibers) fiber.join();
    });
    EXPECT_EQ(inside, 0);
    return most;
  }

  std::vector<NodeDecision> tick(std::int64_t used_mib = 10, int in_flight = 0) {
    ticks += 100ms;
    return door.tick(ticks, {.used = used_mib << 20, .limit = 100 << 20}, in_flight, 30ms);
  }

  int refused_fibers = 0;
  MetricsRegistry metrics;
  Threads threads;
  NodeDoor door{metrics};
  Instant ticks{1h};
};

TEST_F(DoorOfOneThread, StandsOpenWhileTheCpuSuffices) {
  threads.run([&] {
    for (int i = 0; i < 100; ++i) door.enter(Priority::low);
  });
  EXPECT_EQ(metrics.total("penstock_door_held_total"), 0);
}

TEST_F(DoorOfOneThread, StartsFewAtATimeWhenTheCpuIsSaturatedAndServesAll) {
  EXPECT_LE(most_at_once(40, 5ms), 4);
  EXPECT_GE(metrics.total("penstock_door_held_total"), 30);
  EXPECT_EQ(metrics.total("penstock_door_refused_total"), 0);
  EXPECT_EQ(door.waiting(), 0);
}

TEST_F(DoorOfOneThread, AFiberThatWasToLetThemInAndFoundNoMemoryIsReplaced) {
  refused_fibers = 2;
  EXPECT_LE(most_at_once(40, 5ms), 4);
  EXPECT_EQ(refused_fibers, 0);
  EXPECT_EQ(metrics.total("penstock_door_refused_total"), 0);
  EXPECT_EQ(door.waiting(), 0);
}

TEST_F(DoorOfOneThread, ObservesWithoutHoldingAnybody) {
  door.apply({.cpu = GuardMode::observe}, false);
  EXPECT_EQ(most_at_once(20, 5ms), 20);
  EXPECT_GE(metrics.total("penstock_door_held_total"), 15);
  door.apply({}, true);
  EXPECT_EQ(most_at_once(20, 5ms), 20);
  door.apply({.cpu = GuardMode::off}, false);
  const double before = metrics.total("penstock_door_held_total");
  EXPECT_EQ(most_at_once(20, 5ms), 20);
  EXPECT_EQ(metrics.total("penstock_door_held_total"), before);
}

TEST_F(DoorOfOneThread, RefusesWhoseDeadlinePassesAndForgetsWhoLeaves) {
  RejectReason reason{};
  bool cancelled = false;
  threads.run([&] {
    std::vector<Fiber> fibers;
    for (int i = 0; i < 3; ++i) {
      fibers.push_back(spawn("busy", [&] {
        door.enter(Priority::critical);
        for (int turn = 0; turn < 60; ++turn) {
          burn(1ms);
          yield();
        }
      }));
    }
    Fiber late = spawn("late", [&] {
      DeadlineScope scope(now() + NodeDoor::kSaturated + 20ms);
      reason = reason_of([&] { door.enter(Priority::low); });
    });
    Fiber leaves = spawn("leaves", [&] {
      try {
        door.enter(Priority::low);
      } catch (const Cancelled&) {
        cancelled = true;
      }
    });
    burn(NodeDoor::kSaturated + 5ms);
    yield();
    yield();
    leaves.cancel();
    for (Fiber& fiber : fibers) fiber.join();
    late.join();
    leaves.join();
  });
  EXPECT_EQ(reason, RejectReason::deadline);
  EXPECT_TRUE(cancelled);
  EXPECT_EQ(door.waiting(), 0);
}

TEST_F(DoorOfOneThread, RefusesWhatIsNotCriticalWhenMemoryIsShort) {
  EXPECT_TRUE(tick(80, 100).empty());
  const auto told = tick(91, 100);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_EQ(told[0].action, "shed");
  EXPECT_EQ(told[0].reason, "memory");
  EXPECT_FALSE(told[0].shadow);
  threads.run([&] {
    EXPECT_EQ(reason_of([&] { door.enter(Priority::normal); }), RejectReason::shed);
    door.enter(Priority::critical);
  });
  EXPECT_EQ(metrics.total("penstock_door_refused_total", {{"guard", "memory"}}), 1);
  tick(98, 100);
  threads.run([&] { EXPECT_EQ(reason_of([&] { door.enter(Priority::critical); }), RejectReason::shed); });
  // What was let in has ended.
  for (int i = 0; i < 60; ++i) {
    for (const NodeDecision& decision : tick(95, 10)) {
      EXPECT_EQ(decision.action, "admit");
      EXPECT_GE(i, 40);
    }
  }
  threads.run([&] { door.enter(Priority::low); });
}

TEST_F(DoorOfOneThread, ShadowRefusesNothingForMemoryAndTellsThatItWould) {
  door.apply({}, true);
  const auto told = tick(91, 100);
  ASSERT_EQ(told.size(), 1u);
  EXPECT_TRUE(told[0].shadow);
  threads.run([&] { door.enter(Priority::low); });
  EXPECT_EQ(metrics.total("penstock_door_refused_total", {{"guard", "memory"}}), 1);
}

TEST_F(DoorOfOneThread, TellsOnceThatTheCpuIsSaturatedAndOnceThatItIsNot) {
  int shed = 0;
  for (int i = 0; i < 15; ++i) {
    most_at_once(3, 1ms);
    for (const NodeDecision& decision : tick()) shed += decision.action == "shed" && decision.reason == "cpu";
  }
  EXPECT_EQ(shed, 1);
  int admit = 0;
  for (int i = 0; i < 100; ++i) {
    for (const NodeDecision& decision : tick()) admit += decision.action == "admit";
  }
  EXPECT_EQ(admit, 1);
}

}  // namespace
}  // namespace penstock
