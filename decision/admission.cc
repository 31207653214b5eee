#include "penstock/decision/admission.h"

#include <algorithm>
#include <cmath>

#include "decision/wait_queue.h"
#include "penstock/decision/prefetch.h"

namespace penstock::decision {
namespace {

// The shortest busy time is taken over the last one to two blocks of this many completions.
constexpr int kServiceBlock = 32;
// Of the completion rate behind retry_after.
constexpr Duration kRateHalfLife = std::chrono::seconds(2);
constexpr Duration kLongestRetryAfter = std::chrono::seconds(60);

// Shortest busy time of recent requests: a request with less left than that cannot be answered in time. The minimum,
// because a wrong refusal costs an answer and a wrong wait only a place.
class ShortestService {
 public:
  void add(const Ended& ended) {
    current_ = std::min(current_, ended.shortest);
    if ((samples_ += ended.count) < kServiceBlock) return;
    previous_ = current_;
    current_ = Duration::max();
    samples_ = 0;
    known_ = true;
  }
  Duration get() const { return known_ ? std::max(Duration::zero(), std::min(previous_, current_)) : Duration::zero(); }

 private:
  Duration previous_ = Duration::max();
  Duration current_ = Duration::max();
  int samples_ = 0;
  bool known_ = false;
};

// Completions per second, decayed.
class CompletionRate {
 public:
  // The very first one only starts the clock.
  void add(int events, Instant now) {
    if (last_) {
      const double dt = std::max(0.0, seconds(now - *last_));
      const double kept = std::exp2(-dt / seconds(kRateHalfLife));
      events_ = events_ * kept + events;
      time_ = time_ * kept + dt;
    } else {
      events_ = events - 1;
    }
    last_ = now;
  }
  // 0 when not known.
  double per_second(Instant now) const {
    if (!last_) return 0;
    const double time = time_ + std::max(0.0, seconds(now - *last_));
    return time > 0 ? events_ / time : 0;
  }

 private:
  std::optional<Instant> last_;
  double events_ = 0;
  double time_ = 0;
};

}  // namespace

std::string_view to_string(RejectReason reason) {
  switch (reason) {
    case RejectReason::limit:
      return "limit";
    case RejectReason::shed:
      return "shed";
    case RejectReason::breaker:
      return "breaker";
    case RejectReason::queue_timeout:
      return "queue_timeout";
    case RejectReason::deadline:
      return "deadline";
  }
  return "unknown";
}

struct Admission::State {
  State(const QueuePolicy& policy, int limit, ShareOf shares) : limit(limit), queue(policy, shares) {}

  // From this moment on the deadline cannot be met.
  Instant hopeless_at(const Ticket& ticket) const {
    return ticket.deadline == Instant::max() ? Instant::max() : ticket.deadline - service.get();
  }

  void refuse(Ticket& ticket, RejectReason reason, Verdicts& decided) {
    queue.remove(ticket);
    decided.push_back(ticket, reason);
  }

  void expire(Instant now, Verdicts& decided) {
    if (queue.size() == 0) return;
    for (Ticket* t = queue.oldest(); t && t->enqueued + queue.policy().max_wait <= now; t = queue.oldest()) {
      refuse(*t, RejectReason::queue_timeout, decided);
    }
    for (Ticket* t = queue.most_urgent(); t && hopeless_at(*t) <= now; t = queue.most_urgent()) {
      refuse(*t, RejectReason::deadline, decided);
    }
  }

  void serve(Instant now, Verdicts& decided) {
    if (queue.size() == 0) return;
    expire(now, decided);
    while (in_flight < limit) {
      Ticket* ticket = queue.next(now);
      if (!ticket) return;
      if (queue.drops(*ticket, now)) {
        refuse(*ticket, RejectReason::shed, decided);
        continue;
      }
      queue.remove(*ticket);
      ticket->tenant = queue.shares().begun(ticket->tenant, now);
      decided.push_back(*ticket, std::nullopt);
      ++in_flight;
    }
  }

  Duration retry_after(Instant now) const {
    const double rate = completions.per_second(now);
    if (rate <= 0) return queue.policy().max_wait;
    const double estimate = static_cast<double>(queue.size() + 1) / rate;
    return from_seconds(std::min(estimate, seconds(kLongestRetryAfter)));
  }

  int limit;
  int in_flight = 0;
  WaitQueue queue;
  ShortestService service;
  CompletionRate completions;
};

Admission::Admission(QueuePolicy queue, int limit, ShareOf shares)
    : state_(std::make_unique<State>(queue, limit, shares)) {}
Admission::~Admission() = default;

Admission::Answer Admission::offer(Ticket& ticket, Instant now, Verdicts& decided) {
  State& s = *state_;
  const auto rejected = [&](RejectReason reason) { return Answer{Offer::rejected, reason, s.retry_after(now)}; };
  if (ticket.deadline <= now) return rejected(RejectReason::deadline);
  if (s.in_flight < s.limit) {
    ++s.in_flight;
    ticket.tenant = s.queue.shares().begun(ticket.tenant, now);
    return {Offer::admitted};
  }
  const int max = s.queue.policy().max;
  if (max <= 0) return rejected(RejectReason::limit);
  if (s.hopeless_at(ticket) <= now) return rejected(RejectReason::deadline);
  if (s.queue.size() >= max) {
    s.expire(now, decided);
    if (s.queue.size() >= max) {
      Ticket* yielding = s.queue.yields_to(ticket, now);
      if (!yielding) return rejected(RejectReason::limit);
      s.refuse(*yielding, RejectReason::shed, decided);
    }
  }
  s.queue.insert(ticket, now);
  return {Offer::queued};
}

void Admission::release(Duration busy, Instant now, Verdicts& decided, Tenant tenant) {
  tell({.count = 1, .shortest = busy}, now);
  give_back(1, now, decided, tenant);
}

int Admission::reserve(int places) {
  State& s = *state_;
  const int given = std::clamp(s.limit - s.in_flight, 0, places);
  s.in_flight += given;
  return given;
}

void Admission::give_back(int places, Instant now, Verdicts& decided, Tenant tenant) {
  State& s = *state_;
  s.in_flight -= places;
  s.queue.shares().ended(tenant, now);
  s.serve(now, decided);
}

void Admission::tell(const Ended& ended, Instant now) {
  if (ended.count == 0) return;
  State& s = *state_;
  s.service.add(ended);
  s.completions.add(ended.count, now);
}

bool Admission::withdraw(Ticket& ticket) {
  if (!ticket.waiting) return false;
  state_->queue.remove(ticket);
  return true;
}

void Admission::refuse_all(RejectReason reason, Verdicts& decided) {
  State& s = *state_;
  while (Ticket* ticket = s.queue.oldest()) s.refuse(*ticket, reason, decided);
}

void Admission::expire(Instant now, Verdicts& decided) { state_->expire(now, decided); }

Instant Admission::next_event() const {
  const State& s = *state_;
  const Ticket* oldest = s.queue.oldest();
  if (!oldest) return Instant::max();
  return std::min(oldest->enqueued + s.queue.policy().max_wait, s.hopeless_at(*s.queue.most_urgent()));
}

void Admission::set_limit(int limit, Instant now, Verdicts& decided) {
  state_->limit = limit;
  state_->serve(now, decided);
}

void Admission::set_queue(const QueuePolicy& queue, Instant now, Verdicts& decided) {
  State& s = *state_;
  s.queue.set_policy(queue);
  s.expire(now, decided);
  while (s.queue.size() > std::max(0, queue.max)) s.refuse(*s.queue.worst(now), RejectReason::shed, decided);
}

void Admission::set_shares(const std::vector<double>& weights) { state_->queue.set_shares(weights); }

const Shares& Admission::shares() const { return state_->queue.shares(); }
int Admission::queue_length(Tenant tenant) const { return state_->queue.size(tenant); }
void Admission::prefetch() const { __builtin_prefetch(state_.get()); }

void Admission::prefetch_told() const { decision::prefetch(&state_->service, state_.get() + 1); }

int Admission::limit() const { return state_->limit; }
int Admission::in_flight() const { return state_->in_flight; }
int Admission::queue_length() const { return state_->queue.size(); }

}  // namespace penstock::decision
