#include "penstock/decision/circuit_breaker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <list>

#include "tests/unit/decision/allocation_count.h"

// The states: opening, probing, closing, and what an operator forces.
namespace penstock::decision {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::HasSubstr;

Instant at(double s) { return Instant{} + from_seconds(s); }

class BreakerTest : public testing::Test {
 protected:
  using Call = CircuitBreaker::Call;

  void TearDown() override {
    for (Call& call : calls_) breaker_.end(call, CallOutcome::cancelled, at(1e4));
  }

  // Null: refused.
  Call* begin(double now) {
    calls_.emplace_back();
    if (breaker_.begin(calls_.back(), seconds(10), at(now))) return &calls_.back();
    calls_.pop_back();
    return nullptr;
  }
  void end(Call* call, CallOutcome outcome, double now) {
    breaker_.end(*call, outcome, at(now));
    calls_.remove_if([&](const Call& c) { return &c == call; });
  }
  void tick(double from, double to) {
    for (double t = from; t < to + 1e-9; t += 0.1) breaker_.tick(at(t), 0);
  }
  // Normal traffic until 10 s, then a trip; half open from `from` on.
  void trip_and_half_open() {
    for (int i = 0; i < 200; ++i) {
      Call* call = begin(i * 0.05);
      end(call, CallOutcome::ok, i * 0.05 + 0.05);
    }
    breaker_.trip("told so", at(10));
    ASSERT_EQ(breaker_.state(), BreakerState::open);
    tick(10, 12.3);
    ASSERT_EQ(breaker_.state(), BreakerState::half_open);
    while (breaker_.take_transition()) {
    }
  }
  std::string last_reason() {
    std::string reason;
    while (const auto transition = breaker_.take_transition()) reason = transition->reason;
    return reason;
  }

  CircuitBreaker breaker_{BreakerPolicy{}, seconds(10), 42};
  std::list<Call> calls_;
};

TEST_F(BreakerTest, LetsCallsThroughAndBoundsTheirPatience) {
  Call call;
  EXPECT_TRUE(breaker_.begin(call, seconds(60), at(1)));
  EXPECT_EQ(call.patience, seconds(10));
  EXPECT_FALSE(call.probe);
  EXPECT_EQ(breaker_.oldest(at(3)), seconds(2));
  breaker_.end(call, CallOutcome::ok, at(3));
  EXPECT_EQ(breaker_.oldest(at(4)), Duration::zero());
  EXPECT_EQ(breaker_.retry_after(at(4)), Duration::zero());
}

TEST_F(BreakerTest, CallsAllocateNothing) {
  const std::int64_t before = allocation_count();
  for (int i = 0; i < 10000; ++i) {
    Call call;
    breaker_.begin(call, seconds(10), at(i * 0.01));
    breaker_.end(call, CallOutcome::ok, at(i * 0.01 + 0.005));
    if (i % 10 == 0) breaker_.tick(at(i * 0.01 + 0.005), 0);
  }
  EXPECT_EQ(allocation_count(), before);
}

TEST_F(BreakerTest, RefusesWhileOpenAndTellsWhenItWillProbe) {
  breaker_.trip("the fleet says so", at(10));
  const auto transition = breaker_.take_transition();
  EXPECT_EQ(transition->reason, "fleet");
  EXPECT_EQ(transition->message, "the fleet says so");
  EXPECT_EQ(begin(11), nullptr);
  EXPECT_GT(breaker_.retry_after(at(10)), milliseconds(1790));
  EXPECT_LT(breaker_.retry_after(at(10)), milliseconds(2210));
  const Duration wait = breaker_.retry_after(at(10));
  Call* probe = nullptr;
  // The first call after that is a probe, also without a tick.
  calls_.emplace_back();
  ASSERT_TRUE(breaker_.begin(calls_.back(), seconds(10), at(10) + wait));
  probe = &calls_.back();
  EXPECT_TRUE(probe->probe);
  EXPECT_EQ(breaker_.state(), BreakerState::half_open);
}

TEST_F(BreakerTest, OpenTimesDifferBySeed) {
  CircuitBreaker other(BreakerPolicy{}, seconds(10), 43);
  other.trip("", at(10));
  breaker_.trip("", at(10));
  EXPECT_NE(breaker_.retry_after(at(10)), other.retry_after(at(10)));
}

TEST_F(BreakerTest, ProbesCloseItThroughASlowStart) {
  trip_and_half_open();
  Call* probes[3];
  for (auto& probe : probes) ASSERT_NE(probe = begin(12.4), nullptr);
  EXPECT_EQ(begin(12.4), nullptr) << "no more than the policy's probes";
  end(probes[0], CallOutcome::ok, 12.45);
  EXPECT_EQ(begin(12.46), nullptr) << "a success keeps its place";
  end(probes[1], CallOutcome::ok, 12.46);
  EXPECT_EQ(breaker_.state(), BreakerState::half_open);
  end(probes[2], CallOutcome::ok, 12.5);
  EXPECT_EQ(breaker_.state(), BreakerState::closed);
  EXPECT_EQ(last_reason(), "probes_succeeded");

  int let_through[4] = {};
  for (int ms = 0; ms < 2000; ++ms) {
    if (Call* call = begin(12.5 + ms * 1e-3)) {
      ++let_through[ms / 500];
      end(call, CallOutcome::ok, 12.5 + ms * 1e-3);
    } else {
      EXPECT_GT(breaker_.retry_after(at(12.5 + ms * 1e-3)), Duration::zero());
    }
  }
  EXPECT_GT(let_through[0], 50);
  EXPECT_LT(let_through[0], 200);
  EXPECT_GT(let_through[1], let_through[0]);
  EXPECT_GT(let_through[2], let_through[1]);
  EXPECT_EQ(let_through[3], 500);
}

TEST_F(BreakerTest, FailingProbesReopenIt) {
  trip_and_half_open();
  Call* first = begin(12.4);
  Call* second = begin(12.4);
  end(first, CallOutcome::error, 12.41);
  EXPECT_EQ(breaker_.state(), BreakerState::half_open) << "one of three may fail";
  end(second, CallOutcome::timeout, 12.42);
  EXPECT_EQ(breaker_.state(), BreakerState::open);
  EXPECT_EQ(last_reason(), "probe_failed");
  EXPECT_EQ(begin(12.5), nullptr);
}

TEST_F(BreakerTest, HangingProbesReopenItAfterASecondAndTheNextAreDueInTime) {
  trip_and_half_open();
  for (int i = 0; i < 3; ++i) ASSERT_NE(begin(12.4), nullptr);
  tick(12.5, 13.3);
  EXPECT_EQ(breaker_.state(), BreakerState::half_open);
  tick(13.4, 13.5);
  EXPECT_EQ(breaker_.state(), BreakerState::open);
  const auto transition = breaker_.take_transition();
  EXPECT_EQ(transition->reason, "probe_failed");
  EXPECT_THAT(transition->message, HasSubstr("3 hang"));
  tick(13.6, 14.7);
  EXPECT_EQ(breaker_.state(), BreakerState::half_open);
}

TEST_F(BreakerTest, ProbesMayTakeAsLongAsCallsUsuallyDo) {
  for (int i = 0; i < 200; ++i) {
    Call* call = begin(i * 0.05);
    end(call, CallOutcome::ok, i * 0.05 + 0.8);
  }
  breaker_.trip("", at(11));
  tick(11, 13.3);
  Call* probes[3];
  for (auto& probe : probes) ASSERT_NE(probe = begin(13.3), nullptr);
  tick(13.4, 16.2);
  EXPECT_EQ(breaker_.state(), BreakerState::half_open);
  for (auto& probe : probes) end(probe, CallOutcome::ok, 16.2);
  EXPECT_EQ(breaker_.state(), BreakerState::closed);
}

TEST_F(BreakerTest, CallsFromBeforeTheTripDoNotDecideForTheProbes) {
  std::vector<Call*> stale;
  for (int i = 0; i < 50; ++i) stale.push_back(begin(1));
  trip_and_half_open();
  Call* probe = begin(12.4);
  for (int i = 0; i < 25; ++i) end(stale[static_cast<std::size_t>(i)], CallOutcome::timeout, 12.5);
  for (int i = 25; i < 50; ++i) end(stale[static_cast<std::size_t>(i)], CallOutcome::ok, 12.5);
  breaker_.tick(at(12.6), 0);
  EXPECT_EQ(breaker_.state(), BreakerState::half_open);
  EXPECT_EQ(last_reason(), "");
  end(probe, CallOutcome::ok, 12.7);
  EXPECT_EQ(breaker_.state(), BreakerState::half_open);
}

TEST_F(BreakerTest, ACancelledProbeDecidesNothingAndFreesItsPlace) {
  trip_and_half_open();
  Call* probes[3];
  for (auto& probe : probes) ASSERT_NE(probe = begin(12.4), nullptr);
  for (auto& probe : probes) end(probe, CallOutcome::cancelled, 12.5);
  EXPECT_EQ(breaker_.state(), BreakerState::half_open);
  EXPECT_NE(begin(12.6), nullptr);
}

TEST_F(BreakerTest, ForcedOpenNeverProbesAndGoesOnWithProbesWhenReleased) {
  breaker_.force(BreakerForce::open, "maintenance at the third party", at(1));
  EXPECT_EQ(breaker_.forced(), BreakerForce::open);
  const auto transition = breaker_.take_transition();
  EXPECT_EQ(transition->reason, "forced");
  EXPECT_THAT(transition->message, HasSubstr("maintenance"));
  tick(1, 60);
  EXPECT_EQ(begin(60), nullptr);
  EXPECT_EQ(breaker_.state(), BreakerState::open);
  EXPECT_GT(breaker_.retry_after(at(60)), Duration::zero());
  breaker_.force(BreakerForce::automatic, "done", at(61));
  EXPECT_NE(begin(61), nullptr);
  EXPECT_EQ(breaker_.state(), BreakerState::half_open);
}

TEST_F(BreakerTest, ForcedClosedNeitherTripsNorRamps) {
  breaker_.trip("", at(1));
  breaker_.force(BreakerForce::closed, "we know better", at(2));
  EXPECT_EQ(breaker_.state(), BreakerState::closed);
  for (int i = 0; i < 500; ++i) {
    Call* call = begin(2 + i * 0.01);
    ASSERT_NE(call, nullptr);
    end(call, CallOutcome::error, 2 + i * 0.01);
    breaker_.tick(at(2 + i * 0.01), 1);
  }
  breaker_.trip("", at(8));
  EXPECT_EQ(breaker_.state(), BreakerState::closed);
  EXPECT_EQ(last_reason(), "forced");
}

TEST_F(BreakerTest, AShorterOpenTimeAppliesAtOnce) {
  breaker_.trip("", at(1));
  breaker_.set_policy({.open = milliseconds(100)}, seconds(10), at(1.1));
  EXPECT_LT(breaker_.retry_after(at(1.1)), milliseconds(120));
}

TEST_F(BreakerTest, StateNamesAreThoseOfTheMetrics) {
  EXPECT_EQ(to_string(BreakerState::closed), "closed");
  EXPECT_EQ(to_string(BreakerState::open), "open");
  EXPECT_EQ(to_string(BreakerState::half_open), "half_open");
}

}  // namespace
}  // namespace penstock::decision
