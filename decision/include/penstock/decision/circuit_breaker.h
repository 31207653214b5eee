#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "penstock/decision/policy.h"
#include "penstock/decision/time.h"

// Whether calls to one upstream are let through.
//
// Three judges, the first that speaks decides:
//   1. forced: an operator's open or closed, or the fleet's trip;
//   2. the policy's explicit rules: error ratio and slow-call ratio over a sliding window of at least min_calls;
//   3. usefulness: F, the probability that a call succeeds before its deadline. F comes from competing risks over age
//      bins: each call counts once in every bin that it enters, as success, failure or survivor, with a half-life;
//      calls still in flight are counted as they grow older, so a black hole is seen before the first time-out, and
//      bearable slowness is not taken for death. Open when F is below a threshold that is small while memory is
//      plentiful and rises with pressure, with confidence. The estimator and its constants: decision/usefulness.h.
// States: closed -> open -> half open (probes, jittered) -> closed through a slow start, or back to open.
//
// Not thread-safe: the owner serialises calls. Deterministic: same calls, same decisions; randomness is a seed.
namespace penstock::decision {

enum class BreakerState { closed, open, half_open };
enum class BreakerForce { automatic, open, closed };
enum class CallOutcome {
  ok,
  error,
  timeout,
  // The caller gave up; says only that the call lived that long.
  cancelled,
};

class CallLane;
class CallList;

class CircuitBreaker {
 public:
  CircuitBreaker(const BreakerPolicy& policy, Duration timeout, std::uint64_t seed);
  ~CircuitBreaker();
  CircuitBreaker(const CircuitBreaker&) = delete;

  // A call that was let through; given back to end().
  struct Call {
    Instant started{};
    // What is left of its deadline at the start.
    Duration patience{};
    bool probe = false;
    // Bookkeeping of the breaker.
    std::uint32_t era = 0;
    std::uint32_t slot = 0;
    CallList* list = nullptr;
    Call* previous = nullptr;
    Call* next = nullptr;
  };

  // False: refused. `retry_after(now)` tells when the next probe is due. When true, `call` must stay in place until
  // end().
  bool begin(Call& call, Duration patience, Instant now);
  void end(Call& call, CallOutcome outcome, Instant now);

  // For owners with many threads: calls that need no decision go through lanes (penstock/decision/call_lane.h), one for
  // each thread. Whether they may: every call is let through, and none is special.
  bool steady(Instant now) const;
  // The lane may begin and end calls by itself while the breaker is steady, and no longer than until set_policy().
  void entrust(CallLane& lane) const;
  // What a lane had counted.
  struct Collected {
    std::int64_t begun = 0;
    std::int64_t succeeded = 0;
    // Of those that began, less those that succeeded, in microseconds.
    std::int64_t starts = 0;
    // Of those that succeeded.
    Duration latency{};
  };
  // Takes in what the lane has counted: of all lanes before any call ends that did not succeed, before age(), tick(),
  // and whatever else may change the state.
  Collected collect(CallLane& lane, Instant now);
  // Ages the calls in flight of a lane. Before each tick().
  void age(CallLane& lane, Instant now);

  // Ages the calls in flight and decides. Call every 100 ms. memory_pressure in [0,1]: 0 is plenty, 1 is none left.
  void tick(Instant now, double memory_pressure);

  // Of one without calls in flight: closed, and no tick will open it before a call comes.
  bool idle(Instant now) const;

  // Forces a state until told otherwise; `reason` is logged.
  void force(BreakerForce force, std::string reason, Instant now);
  // Opens now; probes may close it again.
  void trip(std::string reason, Instant now);
  void set_policy(const BreakerPolicy& policy, Duration timeout, Instant now);

  // What tick() is going to read of a closed breaker, in two steps: the second reads what the first has asked for, and
  // returns whether there was anything to read. And the calls that age() of a lane is going to read.
  void prefetch() const;
  // What collect() writes besides.
  void prefetch_told() const;
  bool prefetch_aged(Instant now) const;
  void prefetch_aged(const CallLane& lane, Instant now) const;

  BreakerState state() const;
  BreakerForce forced() const;
  // Not closed, by lack of usefulness here or on other nodes, and calls fail at once, or for a whole patience none was
  // answered.
  bool dead() const;
  Duration retry_after(Instant now) const;
  // Unset without enough evidence.
  std::optional<double> usefulness() const;
  // How soon so large a share of the calls that begin now is answered, by the last seconds, rounded up; max: too few
  // are, or too little is known.
  Duration answered_within(double share) const;
  // What calls can wait, typically.
  Duration patience() const;
  // Age of the oldest call in flight.
  Duration oldest(Instant now) const;

  // A change of state, with the numbers that led to it.
  struct Transition {
    BreakerState from;
    BreakerState to;
    Instant at;
    // One word for metrics: "error_ratio", "slow_call_ratio", "usefulness", "forced", "fleet", "probe_failed",
    // "probes_succeeded", "timer". "usefulness" from open to closed: late answers of calls from before the trip
    // showed that it was wrong.
    std::string reason;
    // A sentence with numbers.
    std::string message;
  };
  // The oldest transition not yet taken.
  std::optional<Transition> take_transition();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

std::string_view to_string(BreakerState state);

}  // namespace penstock::decision
