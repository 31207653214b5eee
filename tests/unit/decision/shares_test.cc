#include "penstock/decision/shares.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <deque>

#include "penstock/decision/admission.h"

namespace penstock::decision {
namespace {

using namespace std::chrono_literals;

// A pool of `limit` places; requests of tenants come at rates of their own and hold a place for times of their own.
class SharedPool {
 public:
  SharedPool(int limit, const std::vector<double>& weights, QueuePolicy queue = {})
      : limit_(limit), admission_(queue, limit) {
    admission_.set_shares(weights);
  }

  void come(Tenant tenant, Duration busy, Priority priority = Priority::normal) {
    Request& request = requests_.emplace_back();
    request.who = request.tenant = tenant;
    request.busy = busy;
    request.priority = priority;
    const auto answer = admission_.offer(request, now_, decided_);
    if (answer.offer == Admission::Offer::admitted) begin(request);
    if (answer.offer == Admission::Offer::rejected) ++rejected[tenant];
    settle();
  }

  // Ends what has ended by then.
  void advance(Duration d) {
    now_ += d;
    for (Request& request : requests_) {
      if (!request.runs || request.ends > now_) continue;
      request.runs = false;
      held[request.who] -= 1;
      admission_.release(request.busy, now_, decided_, request.tenant);
      settle();
    }
    admission_.expire(now_, decided_);
    settle();
    while (!requests_.empty() && !requests_.front().runs && !requests_.front().waiting) requests_.pop_front();
  }

  Admission& admission() { return admission_; }

  std::array<int, 4> served{};
  std::array<int, 4> rejected{};
  std::array<int, 4> held{};

 private:
  struct Request : Ticket {
    Tenant who = 0;
    Duration busy{};
    Instant ends{};
    bool runs = false;
  };

  void begin(Request& request) {
    request.runs = true;
    request.ends = now_ + request.busy;
    ++served[request.who];
    ++held[request.who];
    EXPECT_LE(admission_.in_flight(), limit_);
  }
  void settle() {
    while (!decided_.empty()) {
      const Verdict verdict = decided_.pop_front();
      Request& request = static_cast<Request&>(*verdict.ticket);
      if (verdict.rejected) {
        ++rejected[request.who];
      } else {
        begin(request);
      }
    }
  }

  const int limit_;
  Admission admission_;
  Instant now_ = Instant{} + 1h;
  Verdicts decided_;
  std::deque<Request> requests_;
};

QueuePolicy fifo(int max) {
  return {.discipline = QueueDiscipline::fifo, .max = max, .max_wait = 1s, .target = 50ms, .interval = 500ms};
}

TEST(Shares, AFloodOfOneDoesNotTakeTheOthersPlaces) {
  SharedPool pool(10, {1, 1, 1}, fifo(50));
  for (int i = 0; i < 3000; ++i) {
    for (int k = 0; k < 4; ++k) pool.come(1, 100ms);
    if (i % 5 == 0) pool.come(2, 100ms);
    pool.advance(10ms);
  }
  // 400 and 20 a second, where 100 can be served.
  EXPECT_EQ(pool.rejected[2], 0);
  EXPECT_GE(pool.served[2], 598);
  EXPECT_NEAR(pool.served[1], 3000 - 600, 40);
}

TEST(Shares, AreOfPlacesByWeightHoweverLongRequestsTake) {
  SharedPool pool(12, {1, 3, 1}, fifo(60));
  double of_one = 0, of_two = 0;
  for (int i = 0; i < 4000; ++i) {
    for (int k = 0; k < 3; ++k) pool.come(1, 50ms);
    for (int k = 0; k < 3; ++k) pool.come(2, 500ms);
    pool.advance(10ms);
    if (i < 500) continue;
    of_one += pool.held[1];
    of_two += pool.held[2];
  }
  EXPECT_NEAR(of_one / of_two, 3, 0.2);
}

// Each time that the place is free, nobody holds it.
TEST(Shares, HoldForASinglePlaceAsWell) {
  SharedPool pool(1, {1, 3, 1}, fifo(50));
  for (int i = 0; i < 3000; ++i) {
    for (int k = 0; k < 5; ++k) pool.come(1, 20ms);
    for (int k = 0; k < 5; ++k) pool.come(2, 20ms);
    pool.advance(10ms);
  }
  EXPECT_NEAR(pool.served[1] / static_cast<double>(pool.served[2]), 3, 0.3);
}

TEST(Shares, WhatOneDoesNotAskForIsTheOthers) {
  SharedPool pool(10, {1, 1, 100}, fifo(50));
  for (int i = 0; i < 1000; ++i) {
    for (int k = 0; k < 2; ++k) pool.come(1, 100ms);
    pool.advance(10ms);
    if (i > 100) EXPECT_EQ(pool.held[1], 10);
  }
  EXPECT_NEAR(pool.served[1], 1000, 20);
}

TEST(Shares, ThoseThatAreNotNamedShareOne) {
  SharedPool pool(10, {1, 1}, fifo(50));
  for (int i = 0; i < 2000; ++i) {
    // Ten names that the policy does not know are one tenant; what no policy knows is one of them as well.
    for (int k = 0; k < 10; ++k) pool.come(k % 2 == 0 ? kOthers : Tenant{3}, 100ms);
    if (i % 10 < 4) pool.come(1, 100ms);
    pool.advance(10ms);
  }
  EXPECT_EQ(pool.rejected[1], 0);
}

TEST(Shares, PriorityComesBeforeThem) {
  SharedPool pool(1, {1, 1, 1}, fifo(10));
  pool.come(1, 10ms);
  pool.come(1, 10ms, Priority::critical);
  pool.come(2, 10ms, Priority::normal);
  pool.advance(10ms);
  EXPECT_EQ(pool.served[1], 2);
  EXPECT_EQ(pool.served[2], 0);
}

TEST(Shares, AtAFullQueueTheTenantThatHasMostWaitingMakesWay) {
  SharedPool pool(1, {1, 1, 1}, fifo(4));
  for (int i = 0; i < 5; ++i) pool.come(1, 10ms);
  EXPECT_EQ(pool.rejected[1], 0);
  pool.come(2, 10ms);
  EXPECT_EQ(pool.rejected[1], 1);
  EXPECT_EQ(pool.rejected[2], 0);
  pool.come(1, 10ms);
  EXPECT_EQ(pool.rejected[1], 2);
  EXPECT_EQ(pool.admission().queue_length(1), 3);
  EXPECT_EQ(pool.admission().queue_length(2), 1);
}

TEST(Shares, ANewPolicyKeepsThoseThatWait) {
  SharedPool pool(1, {1}, fifo(10));
  pool.come(0, 10ms);
  for (Tenant tenant : {1, 1, 2}) pool.come(tenant, 10ms);
  pool.admission().set_shares({1, 1, 1});
  EXPECT_EQ(pool.admission().queue_length(), 3);
  EXPECT_EQ(pool.admission().queue_length(1), 2);
  pool.admission().set_shares({1});
  EXPECT_EQ(pool.admission().queue_length(), 3);
  for (int i = 0; i < 4; ++i) pool.advance(10ms);
  EXPECT_EQ(pool.served[1] + pool.served[2], 3);
}

TEST(Shares, OfStartsAreRememberedForSeconds) {
  Shares shares(ShareOf::starts);
  shares.set({1, 1, 1});
  const Instant now = Instant{} + 1h;
  for (int i = 0; i < 100; ++i) shares.begun(1, now);
  shares.begun(2, now + 1s);
  EXPECT_NEAR(shares.use(1), 50, 1e-6);
  EXPECT_NEAR(shares.use(2), 1, 1e-6);
  shares.ended(1, now + 2s);
  EXPECT_NEAR(shares.use(1), 50, 1e-6);
}

TEST(Tenants, AreThoseThatThePolicyNames) {
  TenantsPolicy policy{.header = "x-tenant", .named = {{"gold", 3}, {"acme", 1}}, .others = 2};
  EXPECT_THAT(weights(policy), testing::ElementsAre(2, 3, 1));
  EXPECT_EQ(tenant_named(policy, "gold"), 1);
  EXPECT_EQ(tenant_named(policy, "acme"), 2);
  EXPECT_EQ(tenant_named(policy, ""), kOthers);
  EXPECT_EQ(tenant_named(policy, "made up"), kOthers);
}

}  // namespace
}  // namespace penstock::decision
