#pragma once

#include <cstddef>
#include <deque>
#include <vector>

#include "controller/simulate/rivals/counted.h"

namespace penstock::simulate {

// resilience4j's circuit breaker with its slow-call rule. Source: github.com/resilience4j/resilience4j,
// CircuitBreakerConfig.java at 335f5ebd, internal/CircuitBreakerStateMachine.java at 1a4a7164 and
// internal/CircuitBreakerMetrics.java at 06b25fbd.
//
// Opens where, over a window of enough calls, the share of failures or of slow calls reaches its threshold. When it has
// been open for its time, some calls are let through, and their shares decide.
class Resilience4j final : public CountedLimiter {
 public:
  struct Options {
    // The DEFAULT_* of CircuitBreakerConfig: FAILURE_RATE_THRESHOLD, SLOW_CALL_RATE_THRESHOLD,
    // SLOW_CALL_DURATION_THRESHOLD, WAIT_DURATION_IN_OPEN_STATE, PERMITTED_CALLS_IN_HALF_OPEN_STATE,
    // MINIMUM_NUMBER_OF_CALLS, SLIDING_WINDOW_SIZE.
    double failure_share = 0.5;
    double slow_share = 1.0;
    Duration slow = std::chrono::seconds(60);
    Duration open = std::chrono::seconds(60);
    int permitted = 10;
    int min_calls = 100;
    // Calls; or seconds if `by_time` (SLIDING_WINDOW_TYPE is COUNT_BASED).
    int window = 100;
    bool by_time = false;
  };
  explicit Resilience4j(const Options& options) : options_(options) {}

  // The settings of the documentation's example of a configuration (resilience4j.readme.io, CircuitBreaker, "Create and
  // configure a CircuitBreaker"): 2 s, 50 %, 5 s of at least 10 calls, open for 1 s, 3 calls half-open.
  static Options documented_example();

  enum class State { closed, open, half_open };
  bool admit(const Arrival& arrival) override;
  // Everything that is no answer is a failure, also a cancelled call (CircuitBreaker.decorateCompletionStage).
  void ended(const Ended& ended) override;
  bool open() const override { return state_ != State::closed; }
  State state() const { return state_; }

 private:
  struct Outcome {
    Instant at;
    bool failed;
    bool slow;
  };
  void enter(State state, Instant now);
  void record(const Outcome& outcome);
  void forget_oldest();
  void judge(Instant now);

  const Options options_;
  State state_ = State::closed;
  Instant opened_{};
  int permits_ = 0;
  std::deque<Outcome> outcomes_;
  int failed_ = 0;
  int slow_ = 0;
};

}  // namespace penstock::simulate
