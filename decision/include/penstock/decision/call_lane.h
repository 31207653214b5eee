#pragma once

#include <cstdint>

#include "penstock/decision/call_list.h"
#include "penstock/decision/circuit_breaker.h"
#include "penstock/decision/prefetch.h"
#include "penstock/decision/time.h"

namespace penstock::decision {

// Calls that one thread of a breaker's owner begins, and ends when all is well with them, without asking the breaker:
// it is told of them together, by CircuitBreaker::collect(). Only what needs no decision ends here: successes in time
// that are too short to say more about the upstream than that they were successes, and whose order does not matter.
//
// Not thread-safe: the owner guards each lane by a lock of its own, and holds it while it gives the lane to the
// breaker.
class CallLane {
 public:
  using Call = CircuitBreaker::Call;

  // Only between CircuitBreaker::entrust() and the moment when the breaker is no longer steady.
  void begin(Call& call, Duration patience, Instant now) {
    call.started = now;
    call.patience = patience < timeout_ ? patience : timeout_;
    call.probe = false;
    call.era = era_;
    list_.append(call);
    if (told_.begun + told_.succeeded == 0) told_.since = now;
    ++told_.begun;
    told_.starts += micros(now);
    told_.patience += call.patience;
  }

  // Of a call that succeeded, under the same condition. False, and nothing done: give it to CircuitBreaker::end().
  bool end(Call& call, Instant now) {
    const Duration age = now - call.started;
    if (call.list != &list_ || call.era != era_ || age >= shorter_than_ || age > call.patience || list_.slow(call)) {
      return false;
    }
    list_.remove(call);
    if (told_.begun + told_.succeeded == 0) told_.since = now;
    ++told_.succeeded;
    told_.starts -= micros(call.started);
    told_.ages += age;
    told_.last = now;
    return true;
  }

  // What CircuitBreaker::age() and collect() are going to read, but for the calls.
  void prefetch() const { decision::prefetch(this, this + 1); }

  // How long it has had something to tell.
  Duration untold_for(Instant now) const {
    return told_.begun + told_.succeeded == 0 ? Duration::zero() : now - told_.since;
  }
  // Age of its oldest call.
  Duration oldest(Instant now) const {
    const Instant started = list_.oldest();
    return started < Instant::max() ? now - started : Duration::zero();
  }

 private:
  friend class CircuitBreaker;

  CallList list_;
  std::uint32_t era_ = 0;
  std::uint32_t slow_rule_ = 0;
  Duration timeout_{};
  Duration shorter_than_{};

  struct Told {
    std::int64_t begun = 0;
    std::int64_t succeeded = 0;
    // Of those that began, less those that succeeded, in microseconds.
    std::int64_t starts = 0;
    Duration patience{};
    Duration ages{};
    Instant since{};
    Instant last{};
  } told_;
};

}  // namespace penstock::decision
