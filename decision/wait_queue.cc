#include "decision/wait_queue.h"

#include <bit>
#include <cmath>
#include <utility>

namespace penstock::decision {
namespace {

// A new dropping state resumes at the last rate when it begins within this many intervals of the previous one
// (RFC 8289, section 5.6).
constexpr int kResumeIntervals = 16;

}  // namespace

Instant Codel::control_law(Instant from, Duration interval) const {
  return from + from_seconds(seconds(interval) / std::sqrt(static_cast<double>(count_)));
}

bool Codel::above(Duration wait, bool last, Instant now, const QueuePolicy& policy) {
  if (wait < policy.target || last) {
    first_above_ = Instant{};
    return false;
  }
  if (first_above_ == Instant{}) {
    first_above_ = now + policy.interval;
    return false;
  }
  return now >= first_above_;
}

bool Codel::drop(Duration wait, bool last, Instant now, const QueuePolicy& policy) {
  const bool ok_to_drop = above(wait, last, now, policy);
  if (dropping_) {
    if (!ok_to_drop) {
      dropping_ = false;
      return false;
    }
    if (now < drop_next_) return false;
    ++count_;
    drop_next_ = control_law(drop_next_, policy.interval);
    return true;
  }
  if (!ok_to_drop) return false;
  dropping_ = true;
  const std::uint32_t delta = count_ - last_count_;
  count_ = delta > 1 && now - drop_next_ < kResumeIntervals * policy.interval ? delta : 1;
  drop_next_ = control_law(now, policy.interval);
  last_count_ = count_;
  return true;
}

void Codel::idle() {
  first_above_ = Instant{};
  dropping_ = false;
}

void WaitQueue::set_policy(const QueuePolicy& policy) {
  if (policy.discipline != policy_.discipline) {
    for (Class& c : classes_) c.codel = Codel();
  }
  policy_ = policy;
}

template <class F>
void WaitQueue::for_each_waiting(std::size_t priority, F&& f) const {
  for (std::uint64_t left = waiting_[priority]; left != 0; left &= left - 1) {
    const auto tenant = static_cast<Tenant>(std::countr_zero(left));
    f(classes_[index(priority, tenant)], tenant);
  }
}

void WaitQueue::set_shares(const std::vector<double>& weights) {
  if (weights.size() == shares_.tenants()) return shares_.set(weights);
  // First what may fail: a ticket that is lost would never be told.
  std::vector<ByDeadlineSet::node_type> all;
  all.reserve(static_cast<std::size_t>(size_));
  std::vector<Class> classes(kPriorities * weights.size());
  Shares shares = shares_;
  shares.set(weights);
  while (Ticket* ticket = oldest()) all.push_back(take_out(*ticket));
  shares_ = std::move(shares);
  classes_ = std::move(classes);
  for (auto& node : all) {
    const Instant enqueued = node.value()->enqueued;
    put_in(std::move(node), enqueued);
  }
}

void WaitQueue::insert(Ticket& ticket, Instant now) {
  ByDeadlineSet one;
  ticket.sequence = sequence_ + 1;
  one.insert(&ticket);
  put_in(one.extract(one.begin()), now);
}

void WaitQueue::remove(Ticket& ticket) { take_out(ticket); }

void WaitQueue::put_in(ByDeadlineSet::node_type node, Instant now) {
  Ticket& ticket = *node.value();
  Class& c = class_of(ticket);
  if (!c.first) c.codel.idle();
  ticket.enqueued = now;
  ticket.sequence = ++sequence_;
  ticket.waiting = true;
  ticket.next = nullptr;
  ticket.previous = c.last;
  (c.last ? c.last->next : c.first) = &ticket;
  c.last = &ticket;
  c.by_deadline.insert(std::move(node));
  ++c.size;
  waiting_[priority_of(ticket)] |= std::uint64_t{1} << shares_.counted(ticket.tenant);
  ++size_;
}

WaitQueue::ByDeadlineSet::node_type WaitQueue::take_out(Ticket& ticket) {
  Class& c = class_of(ticket);
  auto node = c.by_deadline.extract(&ticket);
  (ticket.previous ? ticket.previous->next : c.first) = ticket.next;
  (ticket.next ? ticket.next->previous : c.last) = ticket.previous;
  ticket.previous = ticket.next = nullptr;
  ticket.waiting = false;
  if (--c.size == 0) waiting_[priority_of(ticket)] &= ~(std::uint64_t{1} << shares_.counted(ticket.tenant));
  --size_;
  return node;
}

int WaitQueue::size(Tenant tenant) const {
  int sum = 0;
  for (std::size_t p = 0; p < kPriorities; ++p) sum += classes_[index(p, tenant)].size;
  return sum;
}

bool WaitQueue::turned_round(const Class& c, Instant now) const {
  return policy_.discipline == QueueDiscipline::newest_first && c.first && now - c.first->enqueued > policy_.target;
}

Ticket* WaitQueue::next_of(const Class& c, Instant now) const {
  if (policy_.discipline == QueueDiscipline::deadline) return *c.by_deadline.begin();
  return turned_round(c, now) ? c.last : c.first;
}

Ticket* WaitQueue::next(Instant now) const {
  for (std::size_t p = 0; p < kPriorities; ++p) {
    if (waiting_[p] == 0) continue;
    const Class* chosen = nullptr;
    double least = 0;
    for_each_waiting(p, [&](const Class& c, Tenant tenant) {
      const double use = shares_.use(tenant);
      if (chosen && (use > least || (use == least && c.first->sequence > chosen->first->sequence))) return;
      chosen = &c;
      least = use;
    });
    return next_of(*chosen, now);
  }
  return nullptr;
}

bool WaitQueue::drops(const Ticket& ticket, Instant now) {
  if (policy_.discipline != QueueDiscipline::codel) return false;
  Class& c = class_of(ticket);
  return c.codel.drop(now - ticket.enqueued, c.first == c.last, now, policy_);
}

Ticket* WaitQueue::last_served(const Class& c, Instant now) const {
  if (policy_.discipline == QueueDiscipline::deadline) return *c.by_deadline.rbegin();
  return turned_round(c, now) ? c.first : c.last;
}

Ticket* WaitQueue::worst(Instant now) const {
  for (std::size_t p = kPriorities; p-- > 0;) {
    if (waiting_[p] == 0) continue;
    const Class* chosen = nullptr;
    double most = 0;
    for_each_waiting(p, [&](const Class& c, Tenant tenant) {
      const double waiting = c.size / shares_.weight(tenant);
      if (chosen && waiting <= most) return;
      chosen = &c;
      most = waiting;
    });
    return last_served(*chosen, now);
  }
  return nullptr;
}

Ticket* WaitQueue::yields_to(const Ticket& coming, Instant now) const {
  Ticket* candidate = worst(now);
  if (!candidate || candidate->priority < coming.priority) return nullptr;
  if (candidate->priority > coming.priority) return candidate;
  const Class& own = class_of(coming);
  const Class& fattest = class_of(*candidate);
  const auto for_weight = [&](const Ticket& ticket, int waiting) {
    return waiting / shares_.weight(shares_.counted(ticket.tenant));
  };
  if (&own != &fattest && for_weight(*candidate, fattest.size) > for_weight(coming, own.size + 1)) return candidate;
  return turned_round(own, now) ? last_served(own, now) : nullptr;
}

Ticket* WaitQueue::oldest() const {
  Ticket* found = nullptr;
  for (std::size_t p = 0; p < kPriorities; ++p) {
    for_each_waiting(p, [&](const Class& c, Tenant) {
      if (!found || c.first->enqueued < found->enqueued) found = c.first;
    });
  }
  return found;
}

Ticket* WaitQueue::most_urgent() const {
  Ticket* found = nullptr;
  for (std::size_t p = 0; p < kPriorities; ++p) {
    for_each_waiting(p, [&](const Class& c, Tenant) {
      if (!found || (*c.by_deadline.begin())->deadline < found->deadline) found = *c.by_deadline.begin();
    });
  }
  return found;
}

}  // namespace penstock::decision
