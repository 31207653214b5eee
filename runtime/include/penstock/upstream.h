#pragma once

#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "penstock/decision/circuit_breaker.h"
#include "penstock/decision/policy.h"
#include "penstock/error.h"
#include "penstock/fiber.h"

namespace penstock {

namespace decision {
enum class GuardedOutcome;
}

using decision::CallOutcome;

// The guard around every call to one third party: limit of calls in flight, circuit breaker, the rate that a full
// upstream bears, the test for the cause of its slowness, deadline, retry budget, and the account of where the
// request's time goes. Thread-safe. While places are free and all is well, threads share no cache line that a call
// writes, and a call allocates nothing.
class Upstream {
 public:
  // One call that was let through. Must end with finish(); destroyed without, it counts as an error if an exception is
  // in flight, or as cancelled.
  class Call {
   public:
    Call(Call&&) noexcept;
    ~Call();
    // At most once.
    void finish(CallOutcome outcome);
    // The same for a call that the upstream refused because there were too many (HTTP 429, or 503 with Retry-After;
    // gRPC RESOURCE_EXHAUSTED): an error, and once a share of the calls is refused, calls go out at the rate that the
    // upstream accepts. `retry_after`: when it asked to be called again, if it did; obeyed while most are refused.
    void finish_refused(std::optional<Duration> retry_after = std::nullopt);
    // min(policy's timeout, what is left of the request's deadline).
    Instant deadline() const;

   private:
    friend class Upstream;
    struct State;
    void finish(decision::GuardedOutcome outcome, std::optional<Duration> retry_after);
    explicit Call(std::unique_ptr<State> state);
    std::unique_ptr<State> state_;
  };

  // From a fiber. Waits for a place under the limit, in the order of the priority of the request that the fiber works
  // for (normal if for none), at most until the call's deadline; probes of the breaker do not
  // wait. Throws Cancelled, or Rejected: breaker (also when it opens while this waits), limit (memory allows no more to
  // wait, or the upstream refuses more), queue_timeout, deadline (it has passed, or less is left than recent calls took
  // at least).
  Call begin();

  // Runs fn as a call: its waits end at the call's deadline (DeadlineExceeded, counted as timeout), a returned value
  // counts as ok, an exception as error, Cancelled as cancelled. A caller that knows better uses begin().
  template <class F>
  std::invoke_result_t<F> call(F&& fn) {
    Call call = begin();
    DeadlineScope scope(call.deadline());
    try {
      if constexpr (std::is_void_v<std::invoke_result_t<F>>) {
        std::forward<F>(fn)();
        call.finish(CallOutcome::ok);
      } else {
        auto result = std::forward<F>(fn)();
        call.finish(CallOutcome::ok);
        return result;
      }
    } catch (const DeadlineExceeded&) {
      call.finish(CallOutcome::timeout);
      throw;
    } catch (const Cancelled&) {
      call.finish(CallOutcome::cancelled);
      throw;
    } catch (...) {
      call.finish(CallOutcome::error);
      throw;
    }
  }

  // Takes one retry from the budget; false when it is spent.
  bool try_retry();

  const std::string& name() const;
  int limit() const;
  int in_flight() const;
  decision::BreakerState breaker() const;

  ~Upstream();
  Upstream(const Upstream&) = delete;
  Upstream& operator=(const Upstream&) = delete;

 private:
  friend struct UpstreamAccess;
  struct Shard;
  struct State;
  explicit Upstream(std::unique_ptr<State> state);
  // The rest of begin() for what the calling thread cannot decide by itself.
  void begin_slowly(Call::State& call, Instant arrived, Instant request_deadline);
  std::unique_ptr<State> state_;
};

}  // namespace penstock
