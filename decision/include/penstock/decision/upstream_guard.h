#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "penstock/decision/admission.h"
#include "penstock/decision/call_lane.h"
#include "penstock/decision/cause_test.h"
#include "penstock/decision/circuit_breaker.h"
#include "penstock/decision/policy.h"
#include "penstock/decision/retry_budget.h"
#include "penstock/decision/token_bucket.h"
#include "penstock/decision/upstream_signals.h"

// All that one node decides about one upstream, put together: a circuit breaker, a limit with a queue before it, the
// rate that a full upstream bears, a budget of retries, and the test for the cause of slowness.
//
// The limit in force is the least of the policy's max, the bulkhead, the fleet's directive and the cause test's limit,
// but not below the policy's min. A call goes out when the breaker lets it, the bucket has a token and a place is free;
// it waits for a place in the order of the discipline:
//   - as a rule oldest first, for as long as it may be useful: calls are not shed for having waited;
//   - under a limit that is tight on purpose (a directive, SEARCH, TRACK) newest first once the oldest has waited 50
//   ms,
//     and for kTightWait of the patience at most: the queue stands, and the newest are sure to be still there.
// Probes of an open breaker go past the limit: its places may be held by calls that hang.
//
// Life of a call: offer() -> go, or refused, or wait; who waits gets a Verdict: refused, or admitted, and then asks
// start(); whoever goes ends by end(). While a call waits, withdraw() takes it back.
//
// Owners with many threads keep lanes (call_lane.h) and hand places out by themselves: see the last part of the
// interface. Not thread-safe; reads no clock; deterministic for its seed.
namespace penstock::decision {

// How a call ended, as the guard tells it apart.
enum class GuardedOutcome {
  ok,
  error,
  timeout,
  cancelled,
  // 429, or 503 with Retry-After.
  refused,
};

class UpstreamGuard {
 public:
  // Stays in place from offer() to its refusal, withdrawal or end.
  struct Call : Ticket {
    CircuitBreaker::Call call;
    // The breaker knows of it. It holds a place under the limit; probes do not.
    bool tracked = false;
    bool placed = false;
    Instant started{};
  };

  // `guarded` false: calls are counted, never refused. `shadow`: decided, never refused.
  UpstreamGuard(const UpstreamPolicy& policy, bool guarded, bool shadow, std::uint64_t seed);

  enum class Offer { go, wait, refused };
  struct Answer {
    Offer offer;
    RejectReason reason{};
    Duration retry_after{};
  };
  // Asks for a call that must end by `deadline`, with the priority of the ticket. Appends what it decided on others.
  Answer offer(Call& call, Instant deadline, Instant now, Verdicts& decided);
  // Of a call that a verdict admitted: go or refused.
  Answer start(Call& call, Instant now, Verdicts& decided);
  void end(Call& call, GuardedOutcome outcome, std::optional<Duration> retry_after, Instant now, Verdicts& decided);
  // False when it no longer waits: it has, or gets, a verdict.
  bool withdraw(Call& call);
  // Of a call that a verdict admitted and that does not want to start any more.
  void give_back(Call& call, Instant now, Verdicts& decided);
  // Whether a call that failed may be made once more, and that one that was made once more was answered:
  // retry_budget.h.
  bool try_retry(Instant now) { return retries_.try_retry(now, well()); }
  void retry_succeeded(Instant now) { retries_.succeeded(now); }

  // Hedged requests (J. Dean, L. A. Barroso, The Tail at Scale, CACM 56(2), 2013), asked for by evidence instead of a
  // fixed delay: a call is overtaken when it waits although calls that begin now are answered far sooner. It lost its
  // way; made once more beside itself it is likely to be answered at once. Not while anything is held back: then more
  // calls are no help.
  //
  // Calls that have waited for less are never overtaken.
  static constexpr Duration kFirstHedge = std::chrono::seconds(1);
  // Age from which a call is overtaken now, as of the last tick; max: none is.
  Duration overtaken_from() const { return overtaken_from_; }
  // Whether a call of that age may be made once more beside itself. True costs one retry of the budget; if the second
  // one is answered first, retry_succeeded().
  bool try_hedge(Duration age, Instant now) { return age >= overtaken_from_ && retries_.try_retry(now, true); }

  struct Tick {
    Instant now;
    // Since the Unix epoch.
    Duration wall{};
    double memory_pressure = 0;
    // Calls in or waiting for this upstream that memory allows.
    int bulkhead;
    Duration run_delay{};
    // Of the node's TestCalendar.
    bool may_test = true;
  };
  // Every 100 ms. The limit may fall: an owner with lanes has collected them before, and takes the places that they
  // hold back, if places() fell, before it lets anybody else decide.
  void tick(const Tick& tick, Verdicts& decided);
  // Nobody calls it, and all is well: until somebody does, ticks decide nothing but the limit. An owner may make them
  // then, with what they would have been given, before anything else.
  bool idle(Instant now) const;
  // For owners of many: what a tick is going to read, in three steps, each of which reads what the one before asked
  // for. The first two may run beside anything but tick(). The third returns whether there was anything to read.
  void prefetch() const;
  void prefetch_parts() const;
  // What collect() writes besides.
  void prefetch_told(Instant now) const;
  bool prefetch_aged(Instant now) const { return breaker_.prefetch_aged(now); }
  void prefetch_aged(const CallLane& lane, Instant now) const { breaker_.prefetch_aged(lane, now); }

  void set_policy(const UpstreamPolicy& policy, bool shadow, Instant now, Verdicts& decided);
  // Who has which share of the places when they are short: shares.h.
  void set_shares(const std::vector<double>& weights) { admission_.set_shares(weights); }
  // The fleet's limit; unset: none. `tight`: the queue before it stands on purpose. `leads`: the fleet tests for the
  // cause, this node does not.
  void set_directive(std::optional<int> limit, Instant now, Verdicts& decided, bool tight = true, bool leads = false);
  // Latency when all is well, by what the fleet knows of better times; zero: it does not know.
  void expect(Duration latency) { signals_.expect(latency); }
  void force(BreakerForce force, std::string reason, Instant now, Verdicts& decided);
  void trip(std::string reason, Instant now, Verdicts& decided);
  // Directive, force and expectation of a lease that ended.
  void release_lease(Instant now, Verdicts& decided);

  const UpstreamPolicy& policy() const { return policy_; }
  bool shadow() const { return shadow_; }
  bool fleet_leads() const { return fleet_leads_; }
  // Of a call; a shadow policy ends none.
  Duration timeout_in_force() const {
    return shadow_ ? std::max(policy_.timeout, UpstreamPolicy{}.timeout) : policy_.timeout;
  }
  // What would be in force without shadow; INT_MAX: unbounded.
  int limit() const { return limit_in_force(); }
  // What binds: "max", "bulkhead", "directive", "cause", "min", "none".
  std::string_view bound_by() const;
  int in_flight() const { return counts_.in_flight; }
  int waiting() const { return admission_.queue_length(); }
  UpstreamCounts counts(Instant now) const;
  const UpstreamSignals& signals() const { return signals_; }
  const CauseTest& cause_test() const { return test_; }
  const CircuitBreaker& breaker() const { return breaker_; }
  const TokenBucket& bucket() const { return bucket_; }

  std::optional<CircuitBreaker::Transition> take_transition() { return breaker_.take_transition(); }
  std::optional<CauseTest::Decision> take_decision() { return test_.take_decision(); }
  // What holds and why, with numbers, a fact a line.
  std::vector<std::string> explain(Instant now) const;

  // --- For owners with many threads. A lane is collected before end(), tick() and what else may change the state.

  // Nobody waits, the breaker is steady, and no rate is in force: lanes may begin and end calls.
  bool steady(Instant now) const;
  // What the admission enforces: limit(), or unbounded in shadow mode; and how many of these places are free.
  int places() const { return admission_.limit(); }
  int free_places() const { return std::max(0, admission_.limit() - admission_.in_flight()); }
  int reserve(int places) { return admission_.reserve(places); }
  void give_back_places(int places, Instant now, Verdicts& decided);
  void entrust(CallLane& lane) const { breaker_.entrust(lane); }
  // `ended`: of the calls that the lane ended.
  void collect(CallLane& lane, const Ended& ended, Instant now);
  void age(CallLane& lane, Instant now) { breaker_.age(lane, now); }

 private:
  int limit_in_force() const;
  bool tight() const;
  bool well() const;
  // Calls of the last second that have neither been answered nor refused.
  std::int64_t pending(Instant now) const;
  QueuePolicy queue_policy(int limit) const;
  Answer begin(Call& call, Instant now, Verdicts& decided);
  void update_limit(Instant now, Verdicts& decided);
  void look_for_overtaken();
  void settle(Verdicts& decided);
  void begun(Call& call, Instant now);

  // In an order that keeps together what each tick reads.
  CircuitBreaker breaker_;
  Duration overtaken_from_ = Duration::max();
  bool guarded_;
  bool shadow_;
  bool directive_tight_ = false;
  bool fleet_leads_ = false;
  int bulkhead_;
  std::optional<int> directive_;
  // What the fleet held when its lease ended, until the next tick.
  std::optional<int> inherited_;
  // Sum of the starts of the calls in flight, in microseconds.
  std::int64_t starts_ = 0;
  UpstreamCounts counts_;
  UpstreamPolicy policy_;
  CauseTest test_;
  QueuePolicy queue_;
  Admission admission_;
  TokenBucket bucket_;
  RetryBudget retries_;
  UpstreamSignals signals_;
};

}  // namespace penstock::decision
