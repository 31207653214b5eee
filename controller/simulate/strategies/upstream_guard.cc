#include "controller/simulate/strategies/upstream_guard.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace penstock::simulate {

using decision::Admission;
using decision::BreakerState;
using decision::RejectReason;

namespace {

constexpr int kUnbounded = std::numeric_limits<int>::max();
constexpr int kMaxQueue = 1'000'000;

// As runtime/upstream/upstream_state.cc has it.
decision::QueuePolicy queue_policy(const decision::UpstreamPolicy& policy, bool directed, int limit, int bulkhead) {
  decision::QueuePolicy queue;
  queue.discipline = directed ? decision::QueueDiscipline::newest_first : decision::QueueDiscipline::fifo;
  queue.max = std::clamp(bulkhead - limit, 0, kMaxQueue);
  queue.max_wait = policy.timeout;
  queue.target = std::min(queue.target, queue.max_wait);
  return queue;
}

decision::BreakerPolicy breaker_policy(const decision::UpstreamPolicy& policy, bool guarded) {
  if (guarded) return policy.breaker;
  decision::BreakerPolicy never;
  never.usefulness = false;
  return never;
}

decision::CallOutcome outcome_of(Fate fate) {
  switch (fate) {
    case Fate::ok:
      return decision::CallOutcome::ok;
    case Fate::error:
    case Fate::refused:
      return decision::CallOutcome::error;
    case Fate::timeout:
      return decision::CallOutcome::timeout;
    case Fate::cancelled:
      return decision::CallOutcome::cancelled;
  }
  return decision::CallOutcome::error;
}

}  // namespace

UpstreamGuard::UpstreamGuard(Host& host, std::uint32_t upstream, const decision::UpstreamPolicy& policy, bool guarded,
                             bool shadow)
    : host_(host),
      upstream_(upstream),
      policy_(policy),
      guarded_(guarded),
      shadow_(shadow),
      bulkhead_(kUnbounded),
      admission_(queue_policy(policy, false, limit_in_force(), kUnbounded), limit_in_force()),
      queue_(queue_policy(policy, false, limit_in_force(), kUnbounded)),
      breaker_(breaker_policy(policy, guarded), policy.timeout, static_cast<std::uint64_t>(host.uniform() * 0x1.0p53)),
      retries_(policy.retry_budget) {}

int UpstreamGuard::limit_in_force() const {
  if (!guarded_ || shadow_) return kUnbounded;
  if (policy_.limit.mode == decision::LimitMode::fixed) return policy_.limit.max;
  const int assigned = directive_ ? std::max(*directive_, policy_.limit.min) : policy_.limit.max;
  return std::min({policy_.limit.max, bulkhead_, assigned});
}

std::optional<int> UpstreamGuard::limit() const {
  const int limit = limit_in_force();
  return limit == kUnbounded ? std::nullopt : std::optional(limit);
}

void UpstreamGuard::update_limit() {
  const int limit = limit_in_force();
  const decision::QueuePolicy wanted = queue_policy(policy_, directive_.has_value(), limit, bulkhead_);
  if (wanted != queue_) {
    queue_ = wanted;
    admission_.set_queue(queue_, host_.now(), decided_);
  }
  if (limit != admission_.limit()) admission_.set_limit(limit, host_.now(), decided_);
}

bool UpstreamGuard::pass_breaker(GuardedCall& call, Duration patience) {
  call.tracked = breaker_.begin(call.call, patience, host_.now());
  return call.tracked || shadow_;
}

void UpstreamGuard::start(GuardedCall& call) {
  call.started = host_.now();
  ++in_flight_;
  host_.send(*call.request, call.call_deadline);
}

void UpstreamGuard::refuse(GuardedCall& call, RejectReason reason) {
  ++counters_.rejected;
  host_.refuse_call(*call.request, reason);
}

void UpstreamGuard::begin(GuardedCall& call, const Request& request) {
  const Instant now = host_.now();
  call = GuardedCall{};
  call.request = &request;
  call.priority = request.priority;
  ++counters_.attempts;
  retries_.call(now);
  call.call_deadline = std::min(request.deadline, now + policy_.timeout);
  call.deadline = call.call_deadline;
  if (request.deadline <= now) return refuse(call, RejectReason::deadline);
  const Duration patience = std::min<Duration>(call.call_deadline - now, policy_.timeout);
  if (breaker_.state() != BreakerState::closed) {
    if (!pass_breaker(call, patience)) {
      refuse(call, RejectReason::breaker);
      return settle();
    }
    // A probe. The places may be held by calls that hang: it goes past them.
    if (call.tracked) {
      start(call);
      return settle();
    }
  }
  const Admission::Answer answer = admission_.offer(call, now, decided_);
  if (answer.offer == Admission::Offer::admitted) {
    call.placed = true;
    if (pass_breaker(call, patience)) {
      start(call);
    } else {
      admission_.release(Duration::zero(), now, decided_);
      refuse(call, RejectReason::breaker);
    }
  } else if (answer.offer == Admission::Offer::rejected) {
    refuse(call, answer.reason);
  } else {
    queued_.push_back(&call);
  }
  settle();
}

void UpstreamGuard::end(GuardedCall& call, Fate fate) {
  const Instant now = host_.now();
  --in_flight_;
  if (fate == Fate::ok) ++counters_.ok;
  if (fate == Fate::error || fate == Fate::refused) ++counters_.errors;
  if (fate == Fate::timeout) ++counters_.timeouts;
  counters_.latency_seconds += decision::seconds(now - call.started);
  if (call.tracked) breaker_.end(call.call, outcome_of(fate), now);
  if (call.placed) admission_.release(now - call.started, now, decided_);
  settle();
}

void UpstreamGuard::forget(GuardedCall& call) {
  admission_.withdraw(call);
  std::erase(queued_, &call);
}

void UpstreamGuard::settle() {
  while (auto transition = breaker_.take_transition()) {
    const bool open = transition->to == BreakerState::open;
    if (open) opened_itself_ = transition->reason != "fleet" && transition->reason != "forced";
    if (open && transition->from == BreakerState::closed) {
      host_.note_breaker(upstream_, true);
      if (transition->reason == "usefulness") host_.conclude(upstream_, Cause::dead, transition->message);
    }
    if (transition->to == BreakerState::closed) {
      host_.note_breaker(upstream_, false);
      host_.conclude(upstream_, Cause::none, transition->message);
    }
  }
  while (!decided_.empty()) {
    carrying_out_.swap(decided_);
    for (const decision::Verdict& verdict : carrying_out_) {
      GuardedCall& call = static_cast<GuardedCall&>(*verdict.ticket);
      std::erase(queued_, &call);
      if (verdict.rejected) {
        refuse(call, *verdict.rejected);
        continue;
      }
      call.placed = true;
      if (pass_breaker(call, std::max<Duration>(call.call_deadline - host_.now(), Duration::zero()))) {
        start(call);
      } else {
        admission_.release(Duration::zero(), host_.now(), decided_);
        refuse(call, RejectReason::breaker);
      }
    }
    carrying_out_.clear();
  }
  if (queued_.empty() || shadow_ || breaker_.state() != BreakerState::open) return;
  // What waits for a place would only be refused when it got one.
  for (GuardedCall* call : std::exchange(queued_, {})) {
    if (admission_.withdraw(*call)) refuse(*call, RejectReason::breaker);
  }
}

void UpstreamGuard::tick(double memory_pressure, int bulkhead) {
  breaker_.tick(host_.now(), memory_pressure);
  admission_.expire(host_.now(), decided_);
  if (guarded_) {
    bulkhead_ = bulkhead;
    update_limit();
  }
  settle();
  counters_.in_flight = in_flight_;
}

void UpstreamGuard::set_directive(std::optional<int> limit) {
  directive_ = limit;
  update_limit();
  settle();
}

void UpstreamGuard::trip(std::string reason) {
  breaker_.trip(std::move(reason), host_.now());
  settle();
}

void UpstreamGuard::release_lease() {
  directive_.reset();
  if (breaker_.forced() != decision::BreakerForce::automatic) {
    breaker_.force(decision::BreakerForce::automatic, "the lease ended", host_.now());
  }
  if (guarded_) update_limit();
  settle();
}

}  // namespace penstock::simulate
