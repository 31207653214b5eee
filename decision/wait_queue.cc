#include "decision/wait_queue.h"

#include <cmath>

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

void WaitQueue::insert(Ticket& ticket, Instant now) {
  Class& c = classes_[static_cast<std::size_t>(ticket.priority)];
  if (!c.first) c.codel.idle();
  ticket.enqueued = now;
  ticket.sequence = ++sequence_;
  ticket.waiting = true;
  ticket.next = nullptr;
  ticket.previous = c.last;
  (c.last ? c.last->next : c.first) = &ticket;
  c.last = &ticket;
  c.by_deadline.insert(&ticket);
  ++size_;
}

void WaitQueue::remove(Ticket& ticket) {
  Class& c = classes_[static_cast<std::size_t>(ticket.priority)];
  c.by_deadline.erase(&ticket);
  (ticket.previous ? ticket.previous->next : c.first) = ticket.next;
  (ticket.next ? ticket.next->previous : c.last) = ticket.previous;
  ticket.previous = ticket.next = nullptr;
  ticket.waiting = false;
  --size_;
}

bool WaitQueue::turned_round(const Class& c, Instant now) const {
  return policy_.discipline == QueueDiscipline::newest_first && c.first && now - c.first->enqueued > policy_.target;
}

Ticket* WaitQueue::next(Instant now) const {
  for (const Class& c : classes_) {
    if (!c.first) continue;
    if (policy_.discipline == QueueDiscipline::deadline) return *c.by_deadline.begin();
    return turned_round(c, now) ? c.last : c.first;
  }
  return nullptr;
}

bool WaitQueue::drops(const Ticket& ticket, Instant now) {
  if (policy_.discipline != QueueDiscipline::codel) return false;
  Class& c = classes_[static_cast<std::size_t>(ticket.priority)];
  return c.codel.drop(now - ticket.enqueued, c.first == c.last, now, policy_);
}

Ticket* WaitQueue::last_served(const Class& c, Instant now) const {
  if (policy_.discipline == QueueDiscipline::deadline) return *c.by_deadline.rbegin();
  return turned_round(c, now) ? c.first : c.last;
}

Ticket* WaitQueue::worst(Instant now) const {
  for (std::size_t i = classes_.size(); i-- > 0;) {
    if (classes_[i].first) return last_served(classes_[i], now);
  }
  return nullptr;
}

Ticket* WaitQueue::yields_to(Priority priority, Instant now) const {
  Ticket* candidate = worst(now);
  if (!candidate || candidate->priority < priority) return nullptr;
  if (candidate->priority > priority) return candidate;
  return turned_round(classes_[static_cast<std::size_t>(priority)], now) ? candidate : nullptr;
}

Ticket* WaitQueue::oldest() const {
  Ticket* found = nullptr;
  for (const Class& c : classes_) {
    if (c.first && (!found || c.first->enqueued < found->enqueued)) found = c.first;
  }
  return found;
}

Ticket* WaitQueue::most_urgent() const {
  Ticket* found = nullptr;
  for (const Class& c : classes_) {
    if (c.first && (!found || (*c.by_deadline.begin())->deadline < found->deadline)) found = *c.by_deadline.begin();
  }
  return found;
}

}  // namespace penstock::decision
