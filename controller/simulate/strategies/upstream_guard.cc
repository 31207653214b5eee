#include "controller/simulate/strategies/upstream_guard.h"

#include <algorithm>
#include <limits>
#include <utility>

namespace penstock::simulate {

using decision::BreakerState;
using decision::GuardedOutcome;
using decision::RejectReason;
using Offer = decision::UpstreamGuard::Offer;

namespace {

GuardedOutcome outcome_of(Fate fate) {
  switch (fate) {
    case Fate::ok:
      return GuardedOutcome::ok;
    case Fate::error:
      return GuardedOutcome::error;
    case Fate::refused:
      return GuardedOutcome::refused;
    case Fate::timeout:
      return GuardedOutcome::timeout;
    case Fate::cancelled:
      return GuardedOutcome::cancelled;
  }
  return GuardedOutcome::error;
}

}  // namespace

UpstreamGuard::UpstreamGuard(Host& host, std::uint32_t upstream, const decision::UpstreamPolicy& policy, bool guarded,
                             bool shadow)
    : host_(host),
      upstream_(upstream),
      shadow_(shadow),
      guard_(policy, guarded, shadow, static_cast<std::uint64_t>(host.uniform() * 0x1.0p53)) {}

std::optional<int> UpstreamGuard::limit() const {
  const int limit = shadow_ ? std::numeric_limits<int>::max() : guard_.limit();
  return limit == std::numeric_limits<int>::max() ? std::nullopt : std::optional(limit);
}

void UpstreamGuard::send(GuardedCall& call) { host_.send(*call.request, call.deadline); }

void UpstreamGuard::refuse(GuardedCall& call, RejectReason reason) {
  ++counters_.rejected;
  host_.refuse_call(*call.request, reason);
}

void UpstreamGuard::begin(GuardedCall& call, const Request& request, decision::Tenant tenant) {
  call = GuardedCall{};
  call.request = &request;
  call.priority = request.priority;
  call.tenant = tenant;
  ++counters_.attempts;
  const auto answer = guard_.offer(call, request.deadline, host_.now(), decided_);
  if (answer.offer == Offer::go) send(call);
  if (answer.offer == Offer::refused) refuse(call, answer.reason);
  settle();
}

void UpstreamGuard::end(GuardedCall& call, const Call& of, Fate fate) {
  const Instant now = host_.now();
  if (fate == Fate::ok) ++counters_.ok;
  if (fate == Fate::error || fate == Fate::refused) ++counters_.errors;
  if (fate == Fate::timeout) ++counters_.timeouts;
  counters_.latency_seconds += decision::seconds(now - call.started);
  const auto retry_after = of.retry_after > now ? std::optional<Duration>(of.retry_after - now) : std::nullopt;
  if (fate == Fate::ok && of.attempt > 0) guard_.retry_succeeded(now);
  guard_.end(call, outcome_of(fate), retry_after, now, decided_);
  settle();
}

void UpstreamGuard::tell() {
  while (auto transition = guard_.take_transition()) {
    const bool open = transition->to == BreakerState::open;
    if (open) opened_itself_ = transition->reason != "fleet" && transition->reason != "forced";
    if (open && transition->from == BreakerState::closed) {
      host_.note_breaker(upstream_, true);
    }
    if (transition->to == BreakerState::closed) {
      host_.note_breaker(upstream_, false);
      host_.conclude(upstream_, Cause::none, transition->message);
    }
  }
  while (auto decision = guard_.take_decision()) {
    // Where the fleet leads, it is the fleet that judges.
    if (decision->verdict == Cause::dead && guard_.fleet_leads()) continue;
    conclude(*decision);
  }
}

void UpstreamGuard::conclude(const decision::CauseTest::Decision& decision) {
  // Of what is not identified nothing is concluded.
  if (decision.verdict == Cause::unidentified) return;
  host_.conclude(upstream_, decision.verdict, decision.sentence);
}

decision::FleetTest::Node UpstreamGuard::streamed(std::uint64_t life) const {
  return {.id = host_.node(),
          .life = life,
          .counts = guard_.counts(host_.now()),
          .patience = guard_.breaker().patience(),
          .breaker = guard_.breaker().state(),
          .dead = guard_.breaker().dead(),
          .refusing = guard_.bucket().active(),
          .memory_pressure = memory_pressure_,
          .run_delay = host_.load().run_delay};
}

void UpstreamGuard::settle() {
  tell();
  while (!decided_.empty()) {
    const decision::Verdict verdict = decided_.pop_front();
    GuardedCall& call = static_cast<GuardedCall&>(*verdict.ticket);
    if (verdict.rejected) {
      refuse(call, *verdict.rejected);
      continue;
    }
    const auto answer = guard_.start(call, host_.now(), decided_);
    if (answer.offer == Offer::go) {
      send(call);
    } else {
      refuse(call, answer.reason);
    }
  }
  tell();
}

void UpstreamGuard::tick(double memory_pressure, int bulkhead, bool may_test) {
  memory_pressure_ = memory_pressure;
  guard_.tick({.now = host_.now(),
               .wall = host_.wall().time_since_epoch(),
               .memory_pressure = memory_pressure,
               .bulkhead = bulkhead,
               .run_delay = host_.load().run_delay,
               .may_test = may_test},
              decided_);
  settle();
  counters_.in_flight = guard_.in_flight();
}

void UpstreamGuard::set_directive(std::optional<int> limit, bool tight, bool leads) {
  guard_.set_directive(limit, host_.now(), decided_, tight, leads);
  settle();
}

void UpstreamGuard::trip(std::string reason) {
  guard_.trip(std::move(reason), host_.now(), decided_);
  settle();
}

void UpstreamGuard::release_lease() {
  guard_.release_lease(host_.now(), decided_);
  settle();
}

}  // namespace penstock::simulate
