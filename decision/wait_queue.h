#pragma once

#include <array>
#include <cstdint>
#include <set>

#include "penstock/decision/admission.h"
#include "penstock/decision/policy.h"

namespace penstock::decision {

// CoDel's state for one queue (RFC 8289, section 5): says at each dequeue whether its request is dropped.
class Codel {
 public:
  // `wait` of the request at the head; `last` when no other waits behind it: a queue of one is not a standing queue.
  bool drop(Duration wait, bool last, Instant now, const QueuePolicy& policy);
  // The queue was empty: no delay stands.
  void idle();

 private:
  bool above(Duration wait, bool last, Instant now, const QueuePolicy& policy);
  Instant control_law(Instant from, Duration interval) const;

  bool dropping_ = false;
  // When the wait will have been above target for an interval; epoch: it is not above.
  Instant first_above_{};
  Instant drop_next_{};
  std::uint32_t count_ = 0;
  std::uint32_t last_count_ = 0;
};

// The requests that wait, of all priorities. Insertion and removal are O(log n); next, last and oldest O(1).
class WaitQueue {
 public:
  explicit WaitQueue(const QueuePolicy& policy) : policy_(policy) {}

  const QueuePolicy& policy() const { return policy_; }
  void set_policy(const QueuePolicy& policy);

  int size() const { return size_; }
  void insert(Ticket& ticket, Instant now);
  void remove(Ticket& ticket);

  // The next to be admitted by priority and discipline; null when nobody waits.
  Ticket* next(Instant now) const;
  // Whether the discipline drops `ticket`, which is next(), instead of having it admitted. Ask once for each.
  bool drops(const Ticket& ticket, Instant now);
  // Who makes way at a full queue for a request of `priority`; null when nobody has to.
  Ticket* yields_to(Priority priority, Instant now) const;
  // The last in order of the lowest priority; null when nobody waits.
  Ticket* worst(Instant now) const;

  // The longest waiting, and the one with the earliest deadline; null when nobody waits.
  Ticket* oldest() const;
  Ticket* most_urgent() const;

 private:
  struct ByDeadline {
    bool operator()(const Ticket* a, const Ticket* b) const {
      return a->deadline != b->deadline ? a->deadline < b->deadline : a->sequence < b->sequence;
    }
  };
  struct Class {
    Ticket* first = nullptr;
    Ticket* last = nullptr;
    std::set<Ticket*, ByDeadline> by_deadline;
    Codel codel;
  };

  bool turned_round(const Class& c, Instant now) const;
  Ticket* last_served(const Class& c, Instant now) const;

  QueuePolicy policy_;
  std::array<Class, kPriorities> classes_;
  int size_ = 0;
  std::uint64_t sequence_ = 0;
};

}  // namespace penstock::decision
