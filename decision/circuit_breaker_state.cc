#include "decision/circuit_breaker_state.h"

#include <algorithm>
#include <cmath>
#include <new>
#include <utility>

#include "decision/text.h"
#include "penstock/decision/prefetch.h"

// How a breaker goes from state to state, and what it learns from calls.
namespace penstock::decision {

static_assert(CallList::kBins == Usefulness::kEdges.size());

namespace {

// Spread of the open time, so that nodes do not probe in step.
constexpr double kJitter = 0.1;
// Of the slow start.
constexpr double kFirstShare = 0.1;
// Weight of one call in the typical patience.
constexpr double kPatienceWeight = 1.0 / 32;

}  // namespace

CircuitBreaker::State::State(const BreakerPolicy& policy, Duration timeout, std::uint64_t seed)
    : policy(policy), timeout(timeout), window(policy.window), random(seed) {
  probes.reserve(static_cast<std::size_t>(std::max(policy.probes, 1)));
}

void CircuitBreaker::State::age_all(CallList& list, Instant now) {
  list.for_each_aged(Usefulness::kEdges, now,
                     [&](const CallList::Aged& call, int bin) { survived(call.started, call.era, bin - 1, bin); });
  if (!policy.slow_call) return;
  list.for_each_slow(policy.slow_call->over, now, [&](const CallList::Aged& call) {
    if (counts(call.era)) window.add({.timed = 1, .slow = 1}, now);
  });
}

void CircuitBreaker::State::add_patience(Duration sum, std::int64_t calls) {
  const double mean = seconds(sum) / static_cast<double>(calls);
  const double weight = calls == 1 ? kPatienceWeight : 1 - std::pow(1 - kPatienceWeight, calls);
  patience = patience == 0 ? mean : patience + weight * (mean - patience);
}

Duration CircuitBreaker::State::typical_patience() const {
  return patience == 0 ? timeout : std::min(timeout, from_seconds(patience));
}

double CircuitBreaker::State::uniform() {  // splitmix64 (S. Vigna, public domain), in [0,1)
  std::uint64_t z = (random += 0x9e3779b97f4a7c15);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  return static_cast<double>((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

Duration CircuitBreaker::State::jittered(Duration d) {
  return from_seconds(seconds(d) * (1 - kJitter + 2 * kJitter * uniform()));
}

void CircuitBreaker::State::change(BreakerState to, Instant now, std::string_view reason,
                                   std::string message) noexcept {
  try {
    transitions.push_back({state, to, now, std::string(reason), std::move(message)});
  } catch (const std::bad_alloc&) {
  }
  state = to;
  below_since.reset();
}

void CircuitBreaker::State::open(Instant now, Instant due, std::string_view reason, std::string message) {
  probe_due = due;
  by_usefulness = reason == "usefulness" || (by_usefulness && reason == "probe_failed");
  ++era;
  if (state == BreakerState::closed) {
    opened_at = now;
    silent_since = now - usefulness.silence(now);
    failed_at_once = usefulness.fruitless() > 0 && !usefulness.hanging();
    dead = false;
    suspected = reason == "usefulness" || reason == "fleet";
  }
  change(BreakerState::open, now, reason, std::move(message));
}

void CircuitBreaker::State::half_open(Instant now) {
  probes_failed = probes_succeeded = 0;
  probes.clear();
  next_batch(now);
  change(BreakerState::half_open, now, "timer",
         format("%d probes after %.1f s", policy.probes, seconds(now - opened_at)));
}

void CircuitBreaker::State::next_batch(Instant now) {
  ++era;
  batch_era = era;
  probing = 0;
  batch_started = now;
  batch_ends = now + jittered(policy.open);
}

void CircuitBreaker::State::close(Instant now, std::string_view reason, std::string message, bool forget) {
  ++era;
  if (forget) {
    first_era = era;
    usefulness.reset(now);
  }
  window.clear();
  probes.clear();
  slow_start = now;
  credit = 1;
  change(BreakerState::closed, now, reason, std::move(message));
}

void CircuitBreaker::State::reopen(Instant now, std::string message) {
  // The open time runs from the start of the probes, so that slow failing does not lengthen it.
  open(now, std::max(batch_started + jittered(policy.open), now + policy.open / 4), "probe_failed", std::move(message));
}

bool CircuitBreaker::State::admit_closed(Instant now) {
  if (forced == BreakerForce::closed || !slow_start) return true;
  const double share = kFirstShare + (1 - kFirstShare) * seconds(now - *slow_start) / seconds(kSlowStart);
  if (share >= 1) {
    slow_start.reset();
    return true;
  }
  credit += share;
  if (credit < 1) return false;
  credit -= 1;
  return true;
}

void CircuitBreaker::State::probe_ended(Call& call, CallOutcome outcome, Instant now) {
  const auto it = std::find(probes.begin(), probes.end(), &call);
  if (it == probes.end()) return;
  probes.erase(it);
  if (call.era == batch_era) --probing;
  if (state != BreakerState::half_open) return;
  if (outcome == CallOutcome::ok) {
    if (++probes_succeeded >= policy.probes) {
      close(now, "probes_succeeded",
            format("%d probes succeeded, the last in %.3f s; closed for %.1f s of slow start", probes_succeeded,
                   seconds(now - call.started), seconds(kSlowStart)),
            true);
    }
  } else if (outcome != CallOutcome::cancelled && ++probes_failed >= probes_to_fail()) {
    reopen(now, format("%d of %d probes failed", probes_failed, policy.probes));
  }
}

}  // namespace penstock::decision
