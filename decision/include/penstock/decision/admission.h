#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "penstock/decision/policy.h"
#include "penstock/decision/shares.h"
#include "penstock/decision/time.h"

// Admission to a pool: an exact limit of requests in flight and a bounded, prioritised queue before it.
//
// Not thread-safe: the owner serialises calls. Invariants: in_flight() <= limit() unless the limit was lowered below
// what was in flight, which then drains; a request waits only while in_flight() >= limit(); higher priorities leave the
// queue first, within a priority the tenants by their shares (shares.h), and within a tenant the discipline orders. At
// a full queue the arriving request takes the place of the one that would be served last among the lowest priority that
// waits, if that priority is below its own (that one is shed), and is refused (limit) otherwise; while newest-first
// turns the queue round, also the oldest of its own priority makes way.
//
// A request is refused (deadline) when its deadline has passed, or, if it would have to wait, when less is left than
// the shortest time that recent requests were busy. CoDel's drops are shed, max_wait's are queue_timeout. Only a
// request that has to wait takes memory, and leaves no trace when there is none (std::bad_alloc): the end of one, which
// cannot fail, takes none, whoever follows it.
//
// CoDel: K. Nichols, V. Jacobson, "Controlling Queue Delay", ACM Queue 10(5), 2012, RFC 8289: first drop after the wait
// stayed above target for a whole interval, then each interval / sqrt(count).
// Newest first: B. Maurer, "Fail at Scale", ACM Queue 13(8), 2015.
namespace penstock::decision {

enum class RejectReason { limit, shed, breaker, queue_timeout, deadline };
std::string_view to_string(RejectReason reason);
inline constexpr int kRejectReasons = 5;

// Whoever asks for admission. The address identifies the request while it waits; the fields are the caller's.
struct Ticket {
  Priority priority = Priority::normal;
  // Whose it is; once admitted, as whose it is counted: for release() and give_back().
  Tenant tenant = kOthers;
  Instant deadline = Instant::max();
  // Since when it waits.
  Instant enqueued{};
  // Bookkeeping of the queue.
  std::uint64_t sequence = 0;
  Ticket* previous = nullptr;
  Ticket* next = nullptr;
  bool waiting = false;
  // Its verdict, once there is one. Unset: admitted.
  std::optional<RejectReason> rejected;
};

// A waiting request whose fate was decided.
struct Verdict {
  Ticket* ticket;
  // Unset: admitted.
  std::optional<RejectReason> rejected;
};

// Verdicts in their order, linked through the tickets: to hand a place over takes no memory, so the end of a request
// cannot fail. While a ticket is among them it stays in place and is not offered again.
class Verdicts {
 public:
  Verdicts() = default;
  Verdicts(Verdicts&& other) noexcept
      : first_(std::exchange(other.first_, nullptr)), last_(std::exchange(other.last_, nullptr)) {}
  Verdicts& operator=(Verdicts&& other) noexcept {
    first_ = std::exchange(other.first_, nullptr);
    last_ = std::exchange(other.last_, nullptr);
    return *this;
  }

  bool empty() const noexcept { return first_ == nullptr; }
  void push_back(Ticket& ticket, std::optional<RejectReason> rejected) noexcept {
    ticket.rejected = rejected;
    ticket.previous = ticket.next = nullptr;
    (last_ != nullptr ? last_->next : first_) = &ticket;
    last_ = &ticket;
  }
  // Of those that are left, the first; the ticket may end from now on.
  Verdict pop_front() noexcept {
    Ticket& ticket = *first_;
    first_ = std::exchange(ticket.next, nullptr);
    if (first_ == nullptr) last_ = nullptr;
    return {&ticket, ticket.rejected};
  }

  class Iterator {
   public:
    using value_type = Verdict;
    using difference_type = std::ptrdiff_t;
    explicit Iterator(Ticket* at = nullptr) noexcept : at_(at) {}
    Verdict operator*() const noexcept { return {at_, at_->rejected}; }
    Iterator& operator++() noexcept {
      at_ = at_->next;
      return *this;
    }
    Iterator operator++(int) noexcept { return std::exchange(*this, Iterator(at_->next)); }
    bool operator==(const Iterator&) const = default;

   private:
    Ticket* at_;
  };
  Iterator begin() const noexcept { return Iterator(first_); }
  Iterator end() const noexcept { return Iterator(); }

 private:
  Ticket* first_ = nullptr;
  Ticket* last_ = nullptr;
};

// Requests that ended without the admission being asked, and the shortest time that one of them was busy.
struct Ended {
  int count = 0;
  Duration shortest = Duration::max();
  void add(Duration busy) {
    ++count;
    shortest = busy < shortest ? busy : shortest;
  }
};

class Admission {
 public:
  // limit >= 0; a limit of 0 admits nothing.
  Admission(QueuePolicy queue, int limit, ShareOf shares = ShareOf::places);
  ~Admission();
  Admission(const Admission&) = delete;

  enum class Offer { admitted, queued, rejected };
  struct Answer {
    Offer offer;
    RejectReason reason{};
    // Estimate of when a retry may be admitted.
    Duration retry_after{};
  };

  // Asks for `ticket`. When queued, it must stay alive until it appears in a Verdict or is withdrawn. Verdicts on other
  // requests that this offer decided are appended to `decided`.
  Answer offer(Ticket& ticket, Instant now, Verdicts& decided);

  // A request in flight ended after `busy`. Appends who follows it and who is dropped instead.
  void release(Duration busy, Instant now, Verdicts& decided, Tenant tenant = kUncounted);

  // Places that the owner hands out by itself: they count as in flight until they are given back. At most `places`,
  // none while somebody waits; returns how many.
  int reserve(int places);
  // Of reserve(), or whose request's end is told apart. Appends who follows and who is dropped instead.
  void give_back(int places, Instant now, Verdicts& decided, Tenant tenant = kUncounted);
  // Requests on reserved places ended: release() tells of its own.
  void tell(const Ended& ended, Instant now);

  // Takes a waiting request back (its caller went away). False when it no longer waits.
  bool withdraw(Ticket& ticket);

  // Refuses all that wait.
  void refuse_all(RejectReason reason, Verdicts& decided);

  // Decides those whose wait ran out or whose deadline passed or can no longer be met. Call at next_event().
  void expire(Instant now, Verdicts& decided);
  // When expire() has something to do; Instant::max() when nobody waits.
  Instant next_event() const;

  // Up at once (the queue is served), down by draining.
  void set_limit(int limit, Instant now, Verdicts& decided);
  // Who has which share of the places, by number: shares.h. Keeps those that wait. Throws std::bad_alloc.
  void set_shares(const std::vector<double>& weights);
  // Keeps those that wait; over the new maximum, the worst are shed.
  void set_queue(const QueuePolicy& queue, Instant now, Verdicts& decided);

  // What expire(), limit() and queue_length() read when nobody waits.
  void prefetch() const;
  // What tell() writes.
  void prefetch_told() const;

  int limit() const;
  int in_flight() const;
  int queue_length() const;
  const Shares& shares() const;
  // Of a tenant that is told apart.
  int queue_length(Tenant tenant) const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace penstock::decision
