#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <memory>

#include "penstock/decision/admission.h"
#include "tests/unit/decision/allocation_count.h"
#include "tests/unit/decision/seeded_random.h"
#include "tests/unit/decision/verdict_list.h"

// What holds for Admission whatever happens to it.
namespace penstock::decision {
namespace {

using std::chrono::milliseconds;

// Offers, releases, withdrawals and changes at random, with a model of who is where.
class RandomDriver {
 public:
  explicit RandomDriver(std::uint64_t seed)
      : random_(seed), policy_(random_policy()), limit_(random_.below(20)), admission_(policy_, limit_) {}

  void run(int steps) {
    for (int i = 0; i < steps && !testing::Test::HasFailure(); ++i) step();
    // Everybody leaves: nobody is lost.
    change_limit(50);
    while (admission_.in_flight() > 0 || admission_.queue_length() > 0) {
      if (testing::Test::HasFailure()) return;
      now_ += milliseconds(100);
      expire();
      if (!running_.empty()) release();
    }
    EXPECT_TRUE(waiting_.empty());
    EXPECT_TRUE(running_.empty());
    EXPECT_EQ(offered_, ended_ + refused_ + withdrawn_);
  }

 private:
  struct Waiting {
    std::unique_ptr<Ticket> ticket;
    Instant since;
  };

  QueuePolicy random_policy() {
    constexpr QueueDiscipline kDisciplines[] = {QueueDiscipline::fifo, QueueDiscipline::codel,
                                                QueueDiscipline::newest_first, QueueDiscipline::deadline};
    return {.discipline = kDisciplines[random_.below(4)],
            .max = random_.below(40),
            .max_wait = milliseconds(1 + random_.below(1000)),
            .target = milliseconds(1 + random_.below(50)),
            .interval = milliseconds(1 + random_.below(300))};
  }

  void step() {
    now_ += std::chrono::microseconds(random_.below(8000));
    if (random_.chance(0.9)) expire();
    const double what = random_.uniform();
    if (what < 0.5) {
      offer();
    } else if (what < 0.9) {
      if (!running_.empty()) release();
    } else if (what < 0.96) {
      withdraw();
    } else if (what < 0.98) {
      change_limit(random_.below(20));
    } else {
      policy_ = random_policy();
      Verdicts decided;
      admission_.set_queue(policy_, now_, decided);
      apply(decided);
      EXPECT_LE(admission_.queue_length(), policy_.max);
    }
    check();
  }

  void offer() {
    auto ticket = std::make_unique<Ticket>();
    ticket->priority = static_cast<Priority>(random_.below(kPriorities));
    if (random_.chance(0.5)) ticket->deadline = now_ + milliseconds(random_.below(500) - 5);
    ++offered_;
    Verdicts decided;
    const int in_flight = admission_.in_flight();
    const Admission::Answer answer = admission_.offer(*ticket, now_, decided);
    apply(decided);
    Ticket* key = ticket.get();
    switch (answer.offer) {
      case Admission::Offer::admitted:
        EXPECT_LT(in_flight, limit_);
        running_.push_back(now_);
        break;
      case Admission::Offer::queued:
        waiting_[key] = {std::move(ticket), now_};
        break;
      case Admission::Offer::rejected:
        EXPECT_GE(answer.retry_after, Duration::zero());
        ++refused_;
        break;
    }
  }

  void release() {
    const auto it = running_.begin() + random_.below(static_cast<int>(running_.size()));
    const Duration busy = now_ - *it;
    running_.erase(it);
    ++ended_;
    Verdicts decided;
    admission_.release(busy, now_, decided);
    apply(decided);
  }

  void withdraw() {
    if (waiting_.empty()) return;
    auto it = waiting_.begin();
    // By age, not by address: the same run everywhere.
    for (auto i = waiting_.begin(); i != waiting_.end(); ++i) {
      if (i->second.ticket->sequence < it->second.ticket->sequence) it = i;
    }
    EXPECT_TRUE(admission_.withdraw(*it->first));
    EXPECT_FALSE(admission_.withdraw(*it->first));
    waiting_.erase(it);
    ++withdrawn_;
  }

  void change_limit(int limit) {
    limit_ = limit;
    Verdicts decided;
    admission_.set_limit(limit, now_, decided);
    apply(decided);
  }

  void expire() {
    const Instant due = admission_.next_event();
    Verdicts decided;
    admission_.expire(now_, decided);
    if (!decided.empty()) {
      EXPECT_LE(due, now_) << "next_event() was later than what expire() had to do";
    }
    for (const Verdict verdict : decided) EXPECT_TRUE(verdict.rejected);
    apply(decided);
    EXPECT_GT(admission_.next_event(), now_);
    for (const auto& [ticket, w] : waiting_) {
      EXPECT_LT(now_ - w.since, policy_.max_wait);
      EXPECT_GT(ticket->deadline, now_);
    }
  }

  void apply(const Verdicts& decided) {
    for (const Verdict verdict : decided) {
      const auto it = waiting_.find(verdict.ticket);
      ASSERT_NE(it, waiting_.end()) << "decided twice, or never waited";
      EXPECT_FALSE(verdict.ticket->waiting);
      waiting_.erase(it);
      if (verdict.rejected) {
        ++refused_;
      } else {
        running_.push_back(now_);
      }
    }
  }

  void check() {
    EXPECT_EQ(admission_.in_flight(), static_cast<int>(running_.size()));
    EXPECT_EQ(admission_.queue_length(), static_cast<int>(waiting_.size()));
    if (admission_.queue_length() > 0) {
      EXPECT_GE(admission_.in_flight(), admission_.limit());
    }
    EXPECT_LE(admission_.in_flight(), std::max(limit_, highest_since_lowered()));
    EXPECT_EQ(admission_.limit(), limit_);
  }

  // What was in flight when the limit was lowered may only drain.
  int highest_since_lowered() {
    excess_ = admission_.in_flight() > limit_
                  ? (excess_ > 0 ? std::min(excess_, admission_.in_flight()) : admission_.in_flight())
                  : 0;
    return excess_;
  }

  SeededRandom random_;
  QueuePolicy policy_;
  int limit_;
  Admission admission_;
  Instant now_ = Instant{} + std::chrono::hours(1);
  std::map<Ticket*, Waiting> waiting_;
  std::vector<Instant> running_;
  int excess_ = 0;
  std::int64_t offered_ = 0;
  std::int64_t ended_ = 0;
  std::int64_t refused_ = 0;
  std::int64_t withdrawn_ = 0;
};

TEST(AdmissionProperty, NobodyIsLostOrServedTwiceAndTheLimitHolds) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    SCOPED_TRACE(seed);
    RandomDriver(seed).run(3000);
    ASSERT_FALSE(HasFailure());
  }
}

TEST(AdmissionProperty, OffersAndReleasesWithoutAQueueAllocateNothing) {
  Admission admission(QueuePolicy{}, 100);
  Verdicts decided;
  const std::int64_t before = allocation_count();
  for (int i = 0; i < 10000; ++i) {
    Ticket ticket;
    admission.offer(ticket, Instant{} + milliseconds(i), decided);
    admission.release(milliseconds(1), Instant{} + milliseconds(i), decided);
  }
  EXPECT_EQ(allocation_count(), before);
}

TEST(AdmissionProperty, WithoutMemoryNobodyBeginsToWaitAndWhoWaitsIsServed) {
  Admission admission({.discipline = QueueDiscipline::fifo, .max = 10, .max_wait = std::chrono::hours(1)}, 1);
  Verdicts decided;
  Ticket running, waiting, late;
  admission.offer(running, Instant{}, decided);
  ASSERT_EQ(admission.offer(waiting, Instant{}, decided).offer, Admission::Offer::queued);
  {
    const NoMemory none;
    EXPECT_THROW(admission.offer(late, Instant{}, decided), std::bad_alloc);
    EXPECT_EQ(admission.queue_length(), 1);
    EXPECT_FALSE(admission.withdraw(late));
    admission.release(milliseconds(1), Instant{}, decided);
  }
  ASSERT_EQ(all(decided).size(), 1u);
  EXPECT_EQ(decided.pop_front().ticket, &waiting);
  EXPECT_TRUE(decided.empty());
  EXPECT_EQ(admission.queue_length(), 0);
}

TEST(AdmissionProperty, AQueueOfTwentyThousandIsServedInOrder) {
  Admission admission({.discipline = QueueDiscipline::fifo, .max = 20000, .max_wait = std::chrono::hours(1)}, 1);
  Verdicts decided;
  Ticket first;
  admission.offer(first, Instant{}, decided);
  std::vector<Ticket> tickets(20000);
  for (Ticket& ticket : tickets) ASSERT_EQ(admission.offer(ticket, Instant{}, decided).offer, Admission::Offer::queued);
  Ticket extra;
  EXPECT_EQ(admission.offer(extra, Instant{}, decided).reason, RejectReason::limit);
  for (std::size_t i = 0; i < tickets.size(); ++i) admission.release(milliseconds(1), Instant{}, decided);
  const std::vector<Verdict> verdicts = all(decided);
  ASSERT_EQ(verdicts.size(), tickets.size());
  for (std::size_t i = 0; i < tickets.size(); ++i) {
    EXPECT_EQ(verdicts[i].ticket, &tickets[i]);
    EXPECT_FALSE(verdicts[i].rejected);
  }
}

}  // namespace
}  // namespace penstock::decision
