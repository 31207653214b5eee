#include "penstock/decision/admission.h"

#include <gtest/gtest.h>

#include <deque>
#include <utility>
#include <vector>

#include "tests/unit/decision/verdict_list.h"

namespace penstock::decision {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using Offer = Admission::Offer;

Instant at(int ms) { return Instant{} + milliseconds(ms); }

class AdmissionTest : public testing::Test {
 protected:
  void make(QueuePolicy queue, int limit) { admission_.emplace(queue, limit); }
  static QueuePolicy fifo() { return {.discipline = QueueDiscipline::fifo, .max = 10}; }

  Admission::Answer offer(Ticket& ticket, int ms) { return admission_->offer(ticket, at(ms), decided_); }
  // A request that waits.
  Ticket& waiting(int ms, Priority priority = Priority::normal, int deadline = -1) {
    Ticket& ticket = tickets_.emplace_back();
    ticket.priority = priority;
    if (deadline >= 0) ticket.deadline = at(deadline);
    EXPECT_EQ(offer(ticket, ms).offer, Offer::queued);
    return ticket;
  }
  void fill(int n, int ms = 0) {
    for (int i = 0; i < n; ++i) {
      Ticket ticket;
      EXPECT_EQ(offer(ticket, ms).offer, Offer::admitted);
    }
  }
  std::vector<Verdict> release(int ms, Duration busy = milliseconds(1)) {
    decided_ = {};
    admission_->release(busy, at(ms), decided_);
    return all(std::exchange(decided_, {}));
  }
  std::vector<Verdict> expire(int ms) {
    decided_ = {};
    admission_->expire(at(ms), decided_);
    return all(std::exchange(decided_, {}));
  }
  // The only request admitted by a release.
  Ticket* follower(int ms) {
    const std::vector<Verdict> decided = release(ms);
    EXPECT_EQ(decided.size(), 1u);
    if (decided.empty() || decided[0].rejected) return nullptr;
    return decided[0].ticket;
  }

  std::optional<Admission> admission_;
  std::deque<Ticket> tickets_;
  Verdicts decided_;
};

TEST_F(AdmissionTest, AdmitsExactlyTheLimit) {
  make(fifo(), 3);
  fill(3);
  EXPECT_EQ(admission_->in_flight(), 3);
  waiting(0);
  EXPECT_EQ(admission_->in_flight(), 3);
  EXPECT_EQ(admission_->queue_length(), 1);
}

TEST_F(AdmissionTest, ALimitOfZeroAdmitsNothing) {
  make(fifo(), 0);
  waiting(0);
  EXPECT_EQ(admission_->in_flight(), 0);
}

TEST_F(AdmissionTest, RefusesAtAFullQueueAndTellsWhenToComeBack) {
  make({.discipline = QueueDiscipline::fifo, .max = 2}, 1);
  fill(1);
  for (int i = 1; i <= 100; ++i) {
    waiting(i * 10);
    EXPECT_NE(follower(i * 10 + 5), nullptr);
  }
  waiting(1006);
  waiting(1007);
  Ticket ticket;
  const Admission::Answer answer = offer(ticket, 1008);
  EXPECT_EQ(answer.offer, Offer::rejected);
  EXPECT_EQ(answer.reason, RejectReason::limit);
  // A hundred completions a second, two before it.
  EXPECT_NEAR(decision::seconds(answer.retry_after), 0.03, 0.005);
}

TEST_F(AdmissionTest, AQueueOfZeroRefusesAtOnce) {
  make({.discipline = QueueDiscipline::fifo, .max = 0}, 1);
  fill(1);
  Ticket ticket;
  EXPECT_EQ(offer(ticket, 0).reason, RejectReason::limit);
}

TEST_F(AdmissionTest, FifoServesTheOldest) {
  make(fifo(), 1);
  fill(1);
  Ticket& first = waiting(1);
  Ticket& second = waiting(2);
  EXPECT_EQ(follower(3), &first);
  EXPECT_EQ(follower(4), &second);
  EXPECT_TRUE(release(5).empty());
  EXPECT_EQ(admission_->in_flight(), 0);
}

TEST_F(AdmissionTest, HigherPrioritiesGoFirst) {
  make(fifo(), 1);
  fill(1);
  Ticket& low = waiting(1, Priority::low);
  Ticket& normal = waiting(2);
  Ticket& critical = waiting(3, Priority::critical);
  Ticket& high = waiting(4, Priority::high);
  EXPECT_EQ(follower(5), &critical);
  EXPECT_EQ(follower(6), &high);
  EXPECT_EQ(follower(7), &normal);
  EXPECT_EQ(follower(8), &low);
}

TEST_F(AdmissionTest, AtAFullQueueTheLastOfTheLowestPriorityMakesWay) {
  make({.discipline = QueueDiscipline::fifo, .max = 3}, 1);
  fill(1);
  waiting(1, Priority::low);
  Ticket& last_low = waiting(2, Priority::low);
  waiting(3, Priority::normal);
  waiting(4, Priority::high);
  ASSERT_EQ(all(decided_).size(), 1u);
  EXPECT_EQ(all(decided_)[0].ticket, &last_low);
  EXPECT_EQ(all(decided_)[0].rejected, RejectReason::shed);
  EXPECT_EQ(admission_->queue_length(), 3);
  Ticket low{.priority = Priority::low};
  EXPECT_EQ(offer(low, 5).reason, RejectReason::limit) << "its equals stay";
}

TEST_F(AdmissionTest, NewestFirstTurnsRoundOnceTheOldestWaitedTooLong) {
  make({.discipline = QueueDiscipline::newest_first, .max = 4, .target = milliseconds(50)}, 1);
  fill(1);
  Ticket& first = waiting(0);
  Ticket& second = waiting(10);
  waiting(20);
  Ticket& newest = waiting(30);
  EXPECT_EQ(follower(40), &first) << "no pressure yet";
  EXPECT_EQ(follower(70), &newest);
  waiting(71);
  waiting(72);
  // Full: the oldest has the least left to hope for.
  decided_ = {};
  waiting(73);
  ASSERT_EQ(all(decided_).size(), 1u);
  EXPECT_EQ(all(decided_)[0].ticket, &second);
  EXPECT_EQ(all(decided_)[0].rejected, RejectReason::shed);
}

TEST_F(AdmissionTest, DeadlineServesTheMostUrgent) {
  make({.discipline = QueueDiscipline::deadline, .max = 4}, 1);
  fill(1);
  Ticket& none = waiting(1);
  Ticket& late = waiting(2, Priority::normal, 900);
  Ticket& early = waiting(3, Priority::normal, 500);
  Ticket& tie = waiting(4, Priority::normal, 900);
  EXPECT_EQ(follower(5), &early);
  EXPECT_EQ(follower(6), &late);
  EXPECT_EQ(follower(7), &tie);
  EXPECT_EQ(follower(8), &none);
}

TEST_F(AdmissionTest, CodelDropsFromTheHeadOfAStandingQueue) {
  make({.discipline = QueueDiscipline::codel,
        .max = 10000,
        .max_wait = seconds(60),
        .target = milliseconds(50),
        .interval = milliseconds(500)},
       1);
  fill(1);
  // Arrivals at twice the rate of service.
  int dropped = 0;
  int first_drop = 0;
  for (int ms = 0; ms < 3000; ms += 10) {
    waiting(ms);
    waiting(ms + 5);
    for (const Verdict& verdict : release(ms + 9)) {
      if (!verdict.rejected) continue;
      EXPECT_EQ(verdict.rejected, RejectReason::shed);
      if (dropped++ == 0) first_drop = ms;
    }
    EXPECT_EQ(admission_->in_flight(), 1);
  }
  EXPECT_GE(first_drop, 500);
  EXPECT_LE(first_drop, 700);
  EXPECT_GE(dropped, 8);
  EXPECT_LE(dropped, 40);
}

TEST_F(AdmissionTest, AWaitEndsAfterItsTime) {
  make({.discipline = QueueDiscipline::fifo, .max = 10, .max_wait = seconds(1)}, 1);
  fill(1);
  EXPECT_EQ(admission_->next_event(), Instant::max());
  Ticket& ticket = waiting(100);
  EXPECT_EQ(admission_->next_event(), at(1100));
  EXPECT_TRUE(expire(1099).empty());
  const auto decided = expire(1100);
  ASSERT_EQ(decided.size(), 1u);
  EXPECT_EQ(decided[0].ticket, &ticket);
  EXPECT_EQ(decided[0].rejected, RejectReason::queue_timeout);
  EXPECT_EQ(admission_->next_event(), Instant::max());
}

TEST_F(AdmissionTest, AReleaseServesNobodyWhoseTimeRanOut) {
  make({.discipline = QueueDiscipline::fifo, .max = 10, .max_wait = seconds(1)}, 1);
  fill(1);
  Ticket& late = waiting(0);
  Ticket& good = waiting(500);
  const auto decided = release(1200);
  ASSERT_EQ(decided.size(), 2u);
  EXPECT_EQ(decided[0].ticket, &late);
  EXPECT_EQ(decided[0].rejected, RejectReason::queue_timeout);
  EXPECT_EQ(decided[1].ticket, &good);
  EXPECT_FALSE(decided[1].rejected);
}

TEST_F(AdmissionTest, APassedDeadlineIsRefusedEvenWithRoom) {
  make(fifo(), 1);
  Ticket ticket{.deadline = at(10)};
  EXPECT_EQ(offer(ticket, 10).reason, RejectReason::deadline);
  EXPECT_EQ(admission_->in_flight(), 0);
}

TEST_F(AdmissionTest, ADeadlineThatCanNoLongerBeMetIsRefused) {
  make(fifo(), 1);
  fill(1);
  // Requests take 200 to 300 ms.
  for (int i = 0; i < 40; ++i) {
    release(i, milliseconds(200 + (i * 37) % 100));
    fill(1, i);
  }
  Ticket hopeless{.deadline = at(1150)};
  EXPECT_EQ(offer(hopeless, 1000).reason, RejectReason::deadline);
  Ticket& ticket = waiting(1000, Priority::normal, 1500);
  EXPECT_EQ(admission_->next_event(), at(1300));
  EXPECT_TRUE(expire(1299).empty());
  const auto decided = expire(1300);
  ASSERT_EQ(decided.size(), 1u);
  EXPECT_EQ(decided[0].ticket, &ticket);
  EXPECT_EQ(decided[0].rejected, RejectReason::deadline);
  // With room it is tried.
  release(1400, milliseconds(200));
  EXPECT_EQ(offer(hopeless, 1100).offer, Offer::admitted);
}

TEST_F(AdmissionTest, ARaisedLimitServesTheQueueAndALoweredOneDrains) {
  make(fifo(), 1);
  fill(1);
  Ticket& first = waiting(1);
  Ticket& second = waiting(2);
  waiting(3);
  decided_ = {};
  admission_->set_limit(3, at(4), decided_);
  ASSERT_EQ(all(decided_).size(), 2u);
  EXPECT_EQ(all(decided_)[0].ticket, &first);
  EXPECT_EQ(all(decided_)[1].ticket, &second);
  EXPECT_EQ(admission_->in_flight(), 3);
  decided_ = {};
  admission_->set_limit(1, at(5), decided_);
  EXPECT_TRUE(decided_.empty());
  EXPECT_EQ(admission_->in_flight(), 3);
  EXPECT_TRUE(release(6).empty());
  EXPECT_TRUE(release(7).empty());
  EXPECT_EQ(release(8).size(), 1u);
  EXPECT_EQ(admission_->in_flight(), 1);
}

TEST_F(AdmissionTest, ASmallerQueueShedsTheWorst) {
  make(fifo(), 1);
  fill(1);
  waiting(1, Priority::high);
  waiting(2, Priority::low);
  Ticket& low = waiting(3, Priority::low);
  decided_ = {};
  admission_->set_queue({.discipline = QueueDiscipline::fifo, .max = 2}, at(4), decided_);
  ASSERT_EQ(all(decided_).size(), 1u);
  EXPECT_EQ(all(decided_)[0].ticket, &low);
  EXPECT_EQ(all(decided_)[0].rejected, RejectReason::shed);
}

TEST_F(AdmissionTest, WithdrawnRequestsLeaveNoTrace) {
  make(fifo(), 1);
  fill(1);
  Ticket& gone = waiting(1);
  Ticket& stays = waiting(2);
  EXPECT_TRUE(admission_->withdraw(gone));
  EXPECT_FALSE(admission_->withdraw(gone));
  EXPECT_EQ(admission_->queue_length(), 1);
  EXPECT_EQ(follower(3), &stays);
  EXPECT_FALSE(admission_->withdraw(stays));
}

TEST(RejectReasonNames, AreThoseOfTheMetrics) {
  EXPECT_EQ(to_string(RejectReason::limit), "limit");
  EXPECT_EQ(to_string(RejectReason::shed), "shed");
  EXPECT_EQ(to_string(RejectReason::breaker), "breaker");
  EXPECT_EQ(to_string(RejectReason::queue_timeout), "queue_timeout");
  EXPECT_EQ(to_string(RejectReason::deadline), "deadline");
}

TEST_F(AdmissionTest, ReservedPlacesCountAsInFlightUntilTheyAreGivenBack) {
  make(fifo(), 10);
  fill(4);
  EXPECT_EQ(admission_->reserve(4), 4);
  EXPECT_EQ(admission_->reserve(4), 2);
  EXPECT_EQ(admission_->in_flight(), 10);
  Ticket& first = waiting(1);
  EXPECT_EQ(admission_->reserve(1), 0);
  Verdicts decided;
  admission_->give_back(3, at(2), decided);
  ASSERT_EQ(all(decided).size(), 1u);
  EXPECT_EQ(all(decided)[0].ticket, &first);
  EXPECT_FALSE(all(decided)[0].rejected);
  EXPECT_EQ(admission_->in_flight(), 8);
  admission_->set_limit(5, at(3), decided);
  EXPECT_EQ(admission_->reserve(1), 0);
}

TEST_F(AdmissionTest, WhatIsToldOfReservedPlacesCountsAsServiceTime) {
  make(fifo(), 1);
  EXPECT_EQ(admission_->reserve(1), 1);
  Ended ended;
  for (int i = 0; i < 64; ++i) ended.add(milliseconds(100 + i));
  admission_->tell(ended, at(10));
  Ticket late;
  late.deadline = at(60);
  const Admission::Answer answer = offer(late, 10);
  EXPECT_EQ(answer.offer, Offer::rejected);
  EXPECT_EQ(answer.reason, RejectReason::deadline) << "50 ms are left, and the shortest took 100";
}

}  // namespace
}  // namespace penstock::decision
