#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <list>
#include <map>
#include <random>
#include <vector>

#include "penstock/decision/cpu_guard.h"
#include "penstock/decision/memory_guard.h"
#include "penstock/decision/test_calendar.h"
#include "penstock/decision/token_bucket.h"
#include "tests/unit/decision/verdict_list.h"

// The guards of a node that are not those of one upstream, and the bucket.
namespace penstock::decision {
namespace {

using namespace std::chrono_literals;

Instant at(double s) { return Instant{} + from_seconds(s); }

// --- TokenBucket

// Offers `rate` calls a second to an upstream that bears `bears`, from..to; counts what it accepts and refuses.
struct Full {
  TokenBucket bucket;
  int accepted = 0;
  int refused = 0;
  double credit = 0;
  double allowance = 0;

  void run(double rate, double bears, double from, double to) {
    accepted = refused = 0;
    for (int i = static_cast<int>(from * 1000); i < static_cast<int>(to * 1000); ++i) {
      const Instant now = at(i / 1000.0);
      allowance = std::min(bears / 10, allowance + bears / 1000);
      for (credit += rate / 1000; credit >= 1; credit -= 1) {
        if (!bucket.take(now)) continue;
        if (allowance >= 1) {
          allowance -= 1;
          ++accepted;
          bucket.accepted(now);
        } else {
          ++refused;
          bucket.refused(now, 1s);
        }
      }
      if (i % 100 == 0) bucket.tick(now);
    }
  }
};

TEST(TokenBucket, SleepsWhileNothingIsRefused) {
  Full full;
  full.run(100, 1000, 0, 20);
  EXPECT_FALSE(full.bucket.active());
  EXPECT_NEAR(full.accepted, 2000, 1);
}

TEST(TokenBucket, UsesWhatTheUpstreamBearsAndIsSeldomRefused) {
  for (const double bears : {20.0, 50.0, 80.0, 400.0}) {
    Full full;
    full.run(bears * 1.5, bears, 0, 5);
    full.run(bears * 1.5, bears, 5, 35);
    EXPECT_GT(full.accepted, 0.8 * 30 * bears) << bears;
    EXPECT_LT(full.refused, 0.1 * 30 * bears) << bears;
  }
}

TEST(TokenBucket, FindsTheWayBack) {
  Full full;
  full.run(100, 50, 0, 20);
  ASSERT_TRUE(full.bucket.active());
  full.run(100, 1000, 20, 45);
  EXPECT_FALSE(full.bucket.active());
}

TEST(TokenBucket, RetryAfterIsObeyedWhileMostIsRefused) {
  TokenBucket bucket;
  for (int i = 0; i < 10; ++i) bucket.refused(at(1), 3s);
  bucket.tick(at(1.1));
  EXPECT_FALSE(bucket.take(at(3.9)));
  EXPECT_NEAR(seconds(bucket.wait(at(2))), 2, 1e-6);
  EXPECT_TRUE(bucket.take(at(5.1)));
}

// --- CpuGuard

TEST(CpuGuard, StartsWhileFewAreRunnable) {
  CpuGuard guard(2, 100, 10s);
  Verdicts decided;
  std::list<Ticket> tickets(3);
  auto ticket = tickets.begin();
  EXPECT_EQ(guard.offer(*ticket++, 0, at(1), decided).offer, Admission::Offer::admitted);
  EXPECT_EQ(guard.offer(*ticket++, 3, at(1), decided).offer, Admission::Offer::admitted);
  EXPECT_EQ(guard.offer(*ticket, 4, at(1), decided).offer, Admission::Offer::queued);
  guard.poll(4, at(1.01), decided);
  EXPECT_TRUE(decided.empty());
  guard.poll(3, at(1.02), decided);
  ASSERT_EQ(all(decided).size(), 1u);
  EXPECT_FALSE(all(decided)[0].rejected);
}

TEST(CpuGuard, WhoWaitsFirstAndNeedsTheCpuLaterIsStartedNoFasterThanTheCoresServe) {
  CpuGuard guard(2, 1000, 10s);
  guard.served(40ms);
  Verdicts decided;
  std::vector<Ticket> tickets(200);
  Instant now{1h};
  int started = 0;
  for (Ticket& ticket : tickets) {
    // None is ever runnable: all wait for an upstream.
    if (guard.offer(ticket, 0, now, decided).offer == Admission::Offer::admitted) ++started;
  }
  EXPECT_LE(started, 11);
  for (int ms = 0; ms < 1000; ms += 2) {
    now += 2ms;
    guard.poll(0, now, decided);
  }
  // Fifty a second on two cores.
  EXPECT_GE(all(decided).size(), 48u);
  EXPECT_LE(all(decided).size(), 57u);
  for (Ticket& ticket : tickets) guard.withdraw(ticket);
}

// One core whose requests make three calls, each of which has to be gone on with, and then compute; the door is looked
// at behind all that is ready, as a node does.
struct CallsThenComputes {
  double wait_s, call_s, page_s;
  double longest_pass = 0;
  std::minstd_rand engine{1};

  double random(double low, double high) { return std::uniform_real_distribution<>(low, high)(engine); }

  // Share of the time in which it computed pages, with more requests than it can serve.
  double busy(double until) {
    CpuGuard guard(1, 10'000, 5s);
    guard.served(from_seconds(page_s));
    std::list<Ticket> tickets;
    Verdicts decided;
    std::multimap<double, int> calls;  // when it is answered, calls to come
    std::deque<int> ready;
    double now = 1, worked = 0, next_user = 1;
    while (now < 1 + until) {
      const double began = now;
      for (; next_user <= now; next_user += page_s / 1.5) {
        Ticket& ticket = tickets.emplace_back();
        ticket.deadline = at(now + 10);
        if (guard.offer(ticket, 0, at(now), decided).offer == Admission::Offer::admitted) ready.push_back(3);
      }
      for (std::size_t i = ready.size(); i > 0; --i) {
        const int left = ready.front();
        ready.pop_front();
        now += left > 0 ? call_s : page_s;
        if (left > 0) calls.emplace(now + wait_s * random(0.5, 1.5), left - 1);
        if (left == 0) {
          worked += page_s;
          guard.served(from_seconds(page_s));
        }
      }
      longest_pass = std::max(longest_pass, now - began);
      if (ready.empty()) now += std::min(0.001, page_s / 10);
      for (; !calls.empty() && calls.begin()->first <= now; calls.erase(calls.begin())) {
        ready.push_back(calls.begin()->second);
      }
      decided = {};
      guard.poll(std::min<int>(2, static_cast<int>(ready.size())), at(now), decided);
      for (const Verdict verdict : decided)
        if (!verdict.rejected) ready.push_back(3);
    }
    for (Ticket& ticket : tickets) guard.withdraw(ticket);
    return worked / until;
  }
};

TEST(CpuGuard, ASaturatedCpuIsNotIdleWhileRequestsWaitForUpstreams) {
  for (const double page_s : {0.002, 0.01, 0.04, 0.1}) {
    for (const double wait_s : {0.005, 0.05, 0.3}) {
      CallsThenComputes load{.wait_s = wait_s, .call_s = page_s / 200, .page_s = page_s};
      EXPECT_GE(load.busy(60), 0.9) << page_s << " s after calls of " << wait_s << " s";
      EXPECT_LE(load.longest_pass, std::max(0.4, 25 * page_s)) << page_s << " s after calls of " << wait_s << " s";
    }
  }
}

TEST(CpuGuard, NewestFirstOnceTheOldestHasWaited) {
  CpuGuard guard(1, 100, 10s);
  Verdicts decided;
  std::list<Ticket> tickets(3);
  double t = 1;
  for (Ticket& ticket : tickets) guard.offer(ticket, 2, at(t += 0.01), decided);
  guard.poll(1, at(1.04), decided);
  ASSERT_EQ(all(decided).size(), 1u);
  EXPECT_EQ(all(decided)[0].ticket, &tickets.front());
  guard.poll(1, at(1.2), decided);
  ASSERT_EQ(all(decided).size(), 2u);
  EXPECT_EQ(all(decided)[1].ticket, &tickets.back());
}

TEST(CpuGuard, SaturationStartsWhatTheCpuCanDo) {
  // 1 core, 10 ms a request, 200 a second.
  CpuGuard guard(1, 1000, 1s);
  Verdicts decided;
  std::list<Ticket> tickets;
  int started = 0;
  double busy_until = 0;
  for (int i = 0; i < 4000; ++i) {
    const double now = i * 0.0025;
    const auto runnable = static_cast<int>(std::max(0.0, busy_until - now) / 0.01 + 0.999);
    decided = {};
    const auto start = [&] {
      busy_until = std::max(busy_until, now) + 0.01;
      ++started;
    };
    guard.poll(runnable, at(now), decided);
    for (const Verdict verdict : decided) {
      if (!verdict.rejected) start();
    }
    if (i % 2 == 0) {
      Ticket& ticket = tickets.emplace_back();
      ticket.deadline = at(now + 1);
      const auto after = static_cast<int>(std::max(0.0, busy_until - now) / 0.01 + 0.999);
      if (guard.offer(ticket, after, at(now), decided).offer == Admission::Offer::admitted) start();
    }
    EXPECT_LE(busy_until - now, 0.031);
  }
  EXPECT_GE(started, 990);
  EXPECT_LE(started, 1005);
  for (Ticket& ticket : tickets) guard.withdraw(ticket);
}

// --- memory

TEST(MemoryGuard, PressureIsTheScarcerOfBudgetAndLimit) {
  EXPECT_EQ(memory_pressure({}), 0);
  EXPECT_DOUBLE_EQ(memory_pressure({.budget = 1000, .in_requests = 250}), 0.25);
  EXPECT_DOUBLE_EQ(memory_pressure({.used = 550, .base = 100, .limit = 1000, .budget = 1000, .in_requests = 100}),
                   450.0 / 800);
  EXPECT_EQ(memory_pressure({.used = 2000, .base = 100, .limit = 1000}), 1);
  EXPECT_EQ(memory_pressure({.used = 950, .base = 950, .limit = 1000}), 1);
}

TEST(MemoryGuard, TheBudgetIsCutToWhatTheLimitLeaves) {
  EXPECT_EQ(memory_for_requests({.budget = 700}), 700);
  EXPECT_EQ(memory_for_requests({.base = 100, .limit = 1000, .budget = 2000}), 800);
  EXPECT_EQ(memory_for_requests({.base = 100, .limit = 1000, .budget = 500}), 500);
  EXPECT_EQ(memory_for_requests({.base = 950, .limit = 1000, .budget = 500}), 0);
}

// --- calendar

TEST(TestCalendar, OneAtATimeAndTheSameOnAllNodes) {
  TestCalendar one;
  TestCalendar other;
  const auto both = [](TestCalendar& calendar, bool reversed, Duration wall) {
    calendar.ask(reversed ? "b" : "a", false, wall);
    calendar.ask(reversed ? "a" : "b", false, wall);
    calendar.resolve();
    EXPECT_NE(calendar.may_test("a"), calendar.may_test("b"));
    return calendar.may_test("a");
  };
  int a = 0;
  for (int slot = 0; slot < 100; ++slot) {
    const Duration wall = slot * TestCalendar::kSlot + 1s;
    const bool turn = both(one, false, wall);
    EXPECT_EQ(both(other, true, wall), turn);
    a += turn ? 1 : 0;
  }
  EXPECT_GT(a, 25);
  EXPECT_LT(a, 75);
}

TEST(TestCalendar, WhoIsUnderTestKeepsItsTurn) {
  TestCalendar calendar;
  for (int slot = 0; slot < 20; ++slot) {
    calendar.ask("a", false, slot * TestCalendar::kSlot);
    calendar.ask("b", true, slot * TestCalendar::kSlot);
    calendar.resolve();
    EXPECT_TRUE(calendar.may_test("b"));
    EXPECT_FALSE(calendar.may_test("a"));
  }
  calendar.resolve();
  EXPECT_FALSE(calendar.may_test("b"));
}

}  // namespace
}  // namespace penstock::decision
