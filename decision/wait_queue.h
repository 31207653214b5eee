#pragma once

#include <array>
#include <cstdint>
#include <set>
#include <vector>

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

// The requests that wait, of all priorities and tenants. Insertion and removal are O(log n); next, last and oldest take
// as long as there are classes of a priority and a tenant that wait.
class WaitQueue {
 public:
  explicit WaitQueue(const QueuePolicy& policy, ShareOf shares = ShareOf::places)
      : policy_(policy), shares_(shares), classes_(kPriorities) {}

  const QueuePolicy& policy() const { return policy_; }
  void set_policy(const QueuePolicy& policy);

  // Keeps those that wait.
  void set_shares(const std::vector<double>& weights);
  Shares& shares() { return shares_; }
  const Shares& shares() const { return shares_; }

  int size() const { return size_; }
  int size(Tenant tenant) const;
  void insert(Ticket& ticket, Instant now);
  void remove(Ticket& ticket);

  // The next to be admitted by priority, share and discipline; null when nobody waits.
  Ticket* next(Instant now) const;
  // Whether the discipline drops `ticket`, which is next(), instead of having it admitted. Ask once for each.
  bool drops(const Ticket& ticket, Instant now);
  // Who makes way at a full queue for a request that comes; null when nobody has to.
  Ticket* yields_to(const Ticket& coming, Instant now) const;
  // The last in order of the lowest priority and, in it, of the tenant that has most waiting for its weight; null when
  // nobody waits.
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
  using ByDeadlineSet = std::set<Ticket*, ByDeadline>;
  struct Class {
    Ticket* first = nullptr;
    Ticket* last = nullptr;
    int size = 0;
    ByDeadlineSet by_deadline;
    Codel codel;
  };

  static std::size_t priority_of(const Ticket& ticket) { return static_cast<std::size_t>(ticket.priority); }
  std::size_t index(std::size_t priority, Tenant tenant) const { return priority * shares_.tenants() + tenant; }
  Class& class_of(const Ticket& ticket) { return classes_[index(priority_of(ticket), shares_.counted(ticket.tenant))]; }
  const Class& class_of(const Ticket& ticket) const {
    return classes_[index(priority_of(ticket), shares_.counted(ticket.tenant))];
  }
  void put_in(ByDeadlineSet::node_type node, Instant now);
  ByDeadlineSet::node_type take_out(Ticket& ticket);
  // Calls f(class, tenant) for each in which somebody waits.
  template <class F>
  void for_each_waiting(std::size_t priority, F&& f) const;

  bool turned_round(const Class& c, Instant now) const;
  Ticket* next_of(const Class& c, Instant now) const;
  Ticket* last_served(const Class& c, Instant now) const;

  int size_ = 0;
  QueuePolicy policy_;
  Shares shares_;
  // By priority, and in it by tenant.
  std::vector<Class> classes_;
  // Tenants of which somebody waits, a bit each.
  std::array<std::uint64_t, kPriorities> waiting_{};
  std::uint64_t sequence_ = 0;
};

}  // namespace penstock::decision
