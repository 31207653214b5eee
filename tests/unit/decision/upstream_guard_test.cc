#include "penstock/decision/upstream_guard.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <climits>
#include <list>

#include "tests/unit/decision/allocation_count.h"
#include "tests/unit/decision/verdict_list.h"

namespace penstock::decision {
namespace {

using namespace std::chrono_literals;
using testing::Contains;
using testing::HasSubstr;

UpstreamPolicy policy(int min, int max) {
  UpstreamPolicy policy;
  policy.name = "a";
  policy.limit = {.mode = LimitMode::adaptive, .min = min, .max = max};
  policy.timeout = 10s;
  return policy;
}

class UpstreamGuardTest : public testing::Test {
 protected:
  using Call = UpstreamGuard::Call;
  using Offer = UpstreamGuard::Offer;

  explicit UpstreamGuardTest(const UpstreamPolicy& given = policy(1, 2)) : guard_(given, true, false, 1) {}
  void TearDown() override {
    for (Call& call : calls_) {
      if (guard_.withdraw(call)) continue;
      if (call.tracked) guard_.end(call, GuardedOutcome::cancelled, {}, now_, decided_);
    }
  }

  Instant now_ = Instant{} + 1s;
  UpstreamGuard guard_;
  Verdicts decided_;
  std::list<Call> calls_;

  Call& fresh() { return calls_.emplace_back(); }
  UpstreamGuard::Answer offer(Call& call) { return guard_.offer(call, now_ + 10s, now_, decided_); }
  void end(Call& call, GuardedOutcome outcome, std::optional<Duration> retry_after = {}) {
    guard_.end(call, outcome, retry_after, now_, decided_);
    call.tracked = false;
  }
  void tick(int bulkhead = 1000) {
    guard_.tick({.now = now_, .wall = now_.time_since_epoch(), .bulkhead = bulkhead}, decided_);
    now_ += 100ms;
  }
};

class ColdUpstream : public UpstreamGuardTest {
 protected:
  ColdUpstream() : UpstreamGuardTest(policy(1, 1000)) {}
};

// A process starts, a hundred calls go out at once to an upstream that bears 30 and answers after 300 ms: at first
// nothing is known but refusals.
TEST_F(ColdUpstream, ARateBeginsWithWhatIsUnderWay) {
  tick();
  std::vector<Call*> accepted;
  for (int i = 0; i < 100; ++i) {
    Call& call = fresh();
    ASSERT_EQ(offer(call).offer, Offer::go);
    if (i < 30) accepted.push_back(&call);
  }
  now_ += 10ms;
  int i = 0;
  for (Call& call : calls_) {
    if (++i > 30) end(call, GuardedOutcome::refused);
  }
  tick();
  ASSERT_TRUE(guard_.bucket().active());
  EXPECT_GE(*guard_.bucket().rate(), 20);
  tick();
  tick();
  for (Call* call : accepted) end(*call, GuardedOutcome::ok);
  for (int t = 0; t < 5; ++t) tick();
  EXPECT_GE(*guard_.bucket().rate(), 20);
}

TEST_F(UpstreamGuardTest, CallsBeyondTheLimitWaitAndFollow) {
  Call& a = fresh();
  Call& b = fresh();
  Call& c = fresh();
  EXPECT_EQ(offer(a).offer, Offer::go);
  EXPECT_EQ(offer(b).offer, Offer::go);
  EXPECT_EQ(offer(c).offer, Offer::wait);
  EXPECT_EQ(guard_.in_flight(), 2);
  EXPECT_EQ(guard_.waiting(), 1);
  now_ += 50ms;
  end(a, GuardedOutcome::ok);
  ASSERT_EQ(all(decided_).size(), 1u);
  EXPECT_EQ(all(decided_)[0].ticket, &c);
  EXPECT_FALSE(all(decided_)[0].rejected);
  EXPECT_EQ(guard_.start(c, now_, decided_).offer, Offer::go);
  EXPECT_EQ(guard_.in_flight(), 2);
  const UpstreamCounts counts = guard_.counts(now_);
  EXPECT_EQ(counts.attempts, 3);
  EXPECT_EQ(counts.ok, 1);
  EXPECT_EQ(counts.latency, 50ms);
  EXPECT_EQ(counts.mean_age, 25ms);
}

TEST_F(UpstreamGuardTest, WhoWasAdmittedAndWentAwayGivesThePlaceBack) {
  Call& a = fresh();
  Call& b = fresh();
  Call& c = fresh();
  Call& d = fresh();
  offer(a);
  offer(b);
  offer(c);
  offer(d);
  end(a, GuardedOutcome::ok);
  ASSERT_EQ(all(decided_).size(), 1u);
  EXPECT_FALSE(guard_.withdraw(c));
  guard_.give_back(c, now_, decided_);
  ASSERT_EQ(all(decided_).size(), 2u);
  EXPECT_EQ(all(decided_)[1].ticket, &d);
  EXPECT_EQ(guard_.start(d, now_, decided_).offer, Offer::go);
}

TEST_F(UpstreamGuardTest, WithoutMemoryItDecidesAllTheSame) {
  UpstreamPolicy strict = policy(1, 1);
  strict.breaker.usefulness = false;
  strict.breaker.error_ratio = 0.5;
  strict.breaker.min_calls = 2;
  strict.breaker.probes = 100;
  guard_.set_policy(strict, false, now_, decided_);
  tick();
  Call& a = fresh();
  Call& b = fresh();
  Call& c = fresh();
  offer(a);
  ASSERT_EQ(offer(b).offer, Offer::wait);
  {
    const NoMemory none;
    end(a, GuardedOutcome::error);
    EXPECT_THROW(offer(c), std::bad_alloc) << "it would have to wait for the place that b has";
    EXPECT_EQ(guard_.start(b, now_, decided_).offer, Offer::go);
    end(b, GuardedOutcome::error);
    EXPECT_EQ(guard_.breaker().state(), BreakerState::open);
  }
  EXPECT_EQ(guard_.in_flight(), 0);
  EXPECT_EQ(guard_.waiting(), 0);
}

TEST_F(UpstreamGuardTest, TheLeastOfAllBoundsIsInForce) {
  tick();
  EXPECT_EQ(guard_.limit(), 2);
  EXPECT_EQ(guard_.bound_by(), "max");
  guard_.set_directive(1, now_, decided_);
  EXPECT_EQ(guard_.limit(), 1);
  guard_.set_policy(policy(4, 50), false, now_, decided_);
  // Not below min.
  EXPECT_EQ(guard_.limit(), 4);
  EXPECT_EQ(guard_.bound_by(), "min");
  guard_.release_lease(now_, decided_);
  EXPECT_EQ(guard_.limit(), 50);
  tick(20);
  EXPECT_EQ(guard_.limit(), 20);
  EXPECT_EQ(guard_.bound_by(), "bulkhead");
}

// What is in it above a limit that fell holds memory as what waits does.
TEST_F(ColdUpstream, MemoryBoundsWhatIsInItAndWhatWaitsTogether) {
  tick(100);
  for (int i = 0; i < 90; ++i) ASSERT_EQ(offer(fresh()).offer, Offer::go);
  guard_.set_directive(10, now_, decided_, true, true);
  tick(100);
  int waiting = 0;
  for (int i = 0; i < 100; ++i) waiting += offer(fresh()).offer == Offer::wait ? 1 : 0;
  EXPECT_EQ(waiting, 10);
}

TEST_F(UpstreamGuardTest, WhatTheFleetExpectsIsUsualAndIsTold) {
  guard_.expect(std::chrono::milliseconds(200));
  tick();
  EXPECT_EQ(guard_.signals().usual_latency(), std::chrono::milliseconds(200));
  const auto told = [&] {
    const std::vector<std::string> lines = guard_.explain(now_);
    return std::ranges::any_of(lines, [](const std::string& line) {
      return line.starts_with("the fleet's history expects 0.2 s at this hour");
    });
  };
  EXPECT_TRUE(told());
  guard_.release_lease(now_, decided_);
  EXPECT_EQ(guard_.signals().expected_latency(), Duration::zero());
  EXPECT_EQ(guard_.signals().usual_latency(), std::chrono::milliseconds(200));
  EXPECT_FALSE(told());
}

TEST_F(UpstreamGuardTest, AFleetThatIsGoneLeavesItsVerdict) {
  guard_.set_policy(policy(1, 100), false, now_, decided_);
  guard_.set_directive(7, now_, decided_, true, true);
  tick();
  EXPECT_EQ(guard_.limit(), 7);
  guard_.release_lease(now_, decided_);
  tick();
  EXPECT_EQ(guard_.limit(), 7);
  EXPECT_EQ(guard_.bound_by(), "cause");
  EXPECT_EQ(guard_.cause_test().holds().verdict, Cause::ours);
  // Nobody calls any more: it ends as every limit does that is not reached.
  for (int i = 0; i < 30; ++i) tick();
  EXPECT_EQ(guard_.limit(), 100);
}

TEST_F(UpstreamGuardTest, SoDoesOneThatEndsToLead) {
  guard_.set_policy(policy(1, 100), false, now_, decided_);
  guard_.set_directive(7, now_, decided_, true, true);
  tick();
  // A controller that started anew knows nothing of it.
  guard_.set_directive(std::nullopt, now_, decided_, false, false);
  tick();
  EXPECT_EQ(guard_.limit(), 7);
  EXPECT_EQ(guard_.bound_by(), "cause");
  // One that leads and gives the limit up has found that it is not needed.
  guard_.set_directive(7, now_, decided_, true, true);
  tick();
  guard_.set_directive(std::nullopt, now_, decided_, false, true);
  tick();
  EXPECT_EQ(guard_.limit(), 100);
}

TEST_F(UpstreamGuardTest, ALimitThatWasNotTightIsNotInherited) {
  guard_.set_policy(policy(1, 100), false, now_, decided_);
  guard_.set_directive(7, now_, decided_, false, true);
  tick();
  guard_.release_lease(now_, decided_);
  tick();
  EXPECT_EQ(guard_.limit(), 100);
}

TEST_F(UpstreamGuardTest, AnOpenBreakerRefusesAllThatWait) {
  Call& a = fresh();
  Call& b = fresh();
  Call& c = fresh();
  offer(a);
  offer(b);
  offer(c);
  guard_.trip("told so", now_, decided_);
  ASSERT_EQ(all(decided_).size(), 1u);
  EXPECT_EQ(all(decided_)[0].rejected, RejectReason::breaker);
  Call& d = fresh();
  const auto answer = offer(d);
  EXPECT_EQ(answer.offer, Offer::refused);
  EXPECT_EQ(answer.reason, RejectReason::breaker);
  EXPECT_GT(answer.retry_after, 0s);
  EXPECT_THAT(guard_.explain(now_), Contains(HasSubstr("breaker open")));
}

TEST_F(UpstreamGuardTest, ProbesGoPastPlacesThatHang) {
  Call& a = fresh();
  Call& b = fresh();
  offer(a);
  offer(b);
  guard_.trip("told so", now_, decided_);
  now_ += 3s;
  tick();
  Call& probe = fresh();
  EXPECT_EQ(offer(probe).offer, Offer::go);
  EXPECT_FALSE(probe.placed);
  EXPECT_EQ(guard_.in_flight(), 3);
}

TEST_F(UpstreamGuardTest, AFullUpstreamIsObeyed) {
  guard_.set_policy(policy(1, 500), false, now_, decided_);
  int sent = 0;
  int refused = 0;
  int obeyed = 0;
  // It bears 20 calls in each second, and is offered 100.
  for (int t = 0; t < 200; ++t) {
    if (t % 10 == 0) sent = 0;
    for (int i = 0; i < 10; ++i) {
      Call& call = fresh();
      if (offer(call).offer != Offer::go) {
        ++obeyed;
        calls_.pop_back();
        continue;
      }
      const bool full = ++sent > 20;
      refused += full && t > 100 ? 1 : 0;
      end(call, full ? GuardedOutcome::refused : GuardedOutcome::ok, full ? std::optional<Duration>(1s) : std::nullopt);
      calls_.pop_back();
    }
    tick();
  }
  EXPECT_TRUE(guard_.bucket().active());
  EXPECT_NEAR(*guard_.bucket().rate(), 20, 10);
  EXPECT_GT(obeyed, 1000);
  // Of some 200 calls that go out in ten seconds.
  EXPECT_LT(refused, 25);
  EXPECT_EQ(guard_.cause_test().holds().verdict, Cause::full);
  EXPECT_THAT(guard_.explain(now_), Contains(HasSubstr("refuses calls")));
}

TEST(UpstreamGuard, ShadowRefusesNothingAndSaysWhatItWould) {
  UpstreamGuard guard(policy(1, 2), true, true, 1);
  Verdicts decided;
  std::list<UpstreamGuard::Call> calls(10);
  for (auto& call : calls) {
    EXPECT_EQ(guard.offer(call, Instant{} + 10s, Instant{} + 1s, decided).offer, UpstreamGuard::Offer::go);
  }
  EXPECT_EQ(guard.limit(), 2);
  for (auto& call : calls) guard.end(call, GuardedOutcome::ok, {}, Instant{} + 2s, decided);
}

TEST(UpstreamGuard, UnguardedCountsOnly) {
  UpstreamGuard guard(policy(1, 2), false, false, 1);
  Verdicts decided;
  std::list<UpstreamGuard::Call> calls(10);
  for (auto& call : calls) {
    EXPECT_EQ(guard.offer(call, Instant{} + 10s, Instant{} + 1s, decided).offer, UpstreamGuard::Offer::go);
  }
  EXPECT_EQ(guard.limit(), INT_MAX);
  EXPECT_EQ(guard.in_flight(), 10);
  for (auto& call : calls) guard.end(call, GuardedOutcome::error, {}, Instant{} + 2s, decided);
  EXPECT_EQ(guard.counts(Instant{} + 2s).failed, 10);
}

TEST(UpstreamGuard, LanesAreCountedAsIfTheirCallsHadComeOneByOne) {
  UpstreamGuard guard(policy(1, 500), true, false, 1);
  Verdicts decided;
  Instant now = Instant{} + 1s;
  CallLane lane;
  ASSERT_TRUE(guard.steady(now));
  EXPECT_EQ(guard.reserve(8), 8);
  guard.entrust(lane);
  CircuitBreaker::Call a;
  UpstreamGuard::Call b;
  lane.begin(a, 5s, now);
  lane.begin(b.call, 5s, now);
  b.started = now;
  b.tracked = b.placed = true;
  now += 40ms;
  ASSERT_TRUE(lane.end(a, now));
  Ended ended;
  ended.add(40ms);
  guard.collect(lane, ended, now);
  UpstreamCounts counts = guard.counts(now);
  EXPECT_EQ(counts.attempts, 2);
  EXPECT_EQ(counts.ok, 1);
  EXPECT_EQ(counts.latency, 40ms);
  EXPECT_EQ(counts.in_flight, 1);
  EXPECT_EQ(counts.mean_age, 40ms);
  guard.end(b, GuardedOutcome::timeout, {}, now, decided);
  counts = guard.counts(now);
  EXPECT_EQ(counts.failed, 1);
  EXPECT_EQ(counts.in_flight, 0);
  guard.give_back_places(7, now, decided);
}

}  // namespace
}  // namespace penstock::decision
