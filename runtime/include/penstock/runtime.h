#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "penstock/callable.h"
#include "penstock/decision/cause_test.h"
#include "penstock/decision/circuit_breaker.h"
#include "penstock/decision/policy.h"
#include "penstock/fiber.h"
#include "penstock/metrics.h"
#include "penstock/node_decision.h"
#include "penstock/pool.h"
#include "penstock/upstream.h"

namespace penstock {

struct RuntimeOptions {
  // As policies name it.
  std::string service = "service";
  // Scheduler threads; 0: one per core of the affinity mask.
  unsigned threads = 0;
  // Stack of a fiber, guard page excluded.
  std::size_t stack_bytes = 128 * 1024;
  // On stop: how long requests in flight may go on before they are cancelled.
  std::chrono::milliseconds drain_grace{10'000};
  // A scheduler thread that runs one fiber for so long without a switch is logged, with the calls that hold it, and
  // counted in penstock_scheduler_blocked_total; zero: nobody looks.
  std::chrono::milliseconds blocked_after{100};
  // Threads of offload(), from 1 to 1024; they are started as they are needed, and kept. With Resolver::system they
  // also look up names.
  unsigned offload_threads = 16;
  // Who finds the addresses of host names: c-ares on the scheduler threads, with /etc/hosts and the name servers of
  // /etc/resolv.conf, or the C library on the threads of offload(), with all that /etc/nsswitch.conf names.
  enum class Resolver { c_ares, system } resolver = Resolver::c_ares;
  // By number, such as SIGHUP or SIGUSR1: called as a fiber of the first scheduler thread when the signal comes, from
  // the construction of the Runtime on. Calls for one signal do not overlap: however often it comes during one, one
  // more follows. What a function throws is logged. SIGTERM and SIGINT, which stop the runtime, SIGPIPE, which it
  // ignores, and signals that tell of a fault are refused.
  //
  // All of these are blocked on the thread that makes the Runtime, and so on those that it and the runtime start from
  // then on: a thread that was there before must have them blocked itself.
  std::map<int, std::function<void()>> on_signal;
};

// The scheduler threads, and what they share: pools, upstreams, metrics, the policy in force. One per process.
//
// Made first, destroyed last; servers and clients are made on it before run(). All members are thread-safe. It logs by
// spdlog's default logger, which it sends to stderr unless the program has set one of its own.
class Runtime {
 public:
  explicit Runtime(RuntimeOptions options = {});
  ~Runtime();
  Runtime(const Runtime&) = delete;
  Runtime& operator=(const Runtime&) = delete;

  const RuntimeOptions& options() const;

  // Starts a fiber on the next scheduler thread in turn, or on the given one.
  //
  // Also before run(). spawn_on() throws std::out_of_range for a thread that is not in [0, threads()).
  Fiber spawn(std::string_view name, Callable fn);
  Fiber spawn_on(unsigned thread, std::string_view name, Callable fn);
  unsigned threads() const;

  // Runs fn on a plain thread of a small pool while the calling fiber waits; for calls that block the thread. Returns
  // what it returns, rethrows what it throws. While all threads are busy the wait ends as any other, by
  // DeadlineExceeded or Cancelled, and fn is not called; what has begun is waited for, so that its captures stay alive.
  // How many wait is penstock_offload_waiting. Throws std::logic_error where no fiber calls it.
  template <class F>
  std::invoke_result_t<F&> offload(F&& fn) {
    using T = std::invoke_result_t<F&>;
    static_assert(!std::is_reference_v<T>, "return a value or a pointer");
    if constexpr (std::is_void_v<T>) {
      run_offloaded(std::ref(fn));
    } else {
      std::optional<T> result;
      run_offloaded([&] { result.emplace(std::invoke(fn)); });
      return std::move(*result);
    }
  }

  // Serves until SIGTERM, SIGINT or stop(); then drains and returns. A second signal ends the drain at once.
  void run();
  // Begins the drain; returns at once. Not for signal handlers.
  void stop();
  bool draining() const;
  // Called once when the drain begins, and once when nothing is in flight any more; by the thread that is in run(), or
  // by the caller if that is past. They must not throw.
  void on_drain(std::function<void()> begin, std::function<void()> end = {});

  // The policy in force. Throws std::invalid_argument (naming the field) and changes nothing if it is unusable. Pools
  // and upstreams that it no longer names stay, with default settings, until they are idle.
  void apply_policy(const decision::Policy& policy);
  decision::Policy policy() const;
  // A policy in SHADOW beside that one: its breakers, limits and budgets of retries are told of the calls that go out,
  // decide, export and log, and bind nothing. Unset: none. The policy in force being in SHADOW itself, it has no
  // effect. Throws as apply_policy(); a policy that acts is refused.
  void apply_shadow(const std::optional<decision::Policy>& policy);

  // The pool or upstream of that name; pools that no policy names are made with defaults.
  Pool& pool(std::string_view name);
  // Null when no policy names it.
  Upstream* find_upstream(std::string_view name);
  // The upstream whose hosts match, or "other".
  Upstream& match_upstream(std::string_view host, std::uint16_t port);

  // What a controller's lease imposes, until release_lease() (or the next push) returns it to the local rules.
  void set_pool_limit(std::string_view pool, int limit);
  // `tight`: the queue before the limit stands on purpose, and so goes newest first, with a bounded wait.
  // `fleet_leads`: the fleet looks for the cause of slowness, so that this node does not by itself.
  void set_upstream_limit(std::string_view upstream, std::optional<int> limit, bool tight = true,
                          bool fleet_leads = false);
  // Its latency when all is well, by what others know of better times: usual while this node knows nothing by its own
  // calls, and a bound to what it learns. Zero: nobody knows. Negative: std::invalid_argument.
  void expect_latency(std::string_view upstream, Duration latency);
  void set_breaker(std::string_view upstream, decision::BreakerForce force, std::string reason);
  void trip_breaker(std::string_view upstream, std::string reason);
  void set_draining(bool draining);
  // Back to the policy's local fallback: pools to fallback_limit, upstreams to the policy's limits, forced breakers to
  // automatic; what is expected of latencies is forgotten, but not what was learned by it.
  void release_lease();

  // Everything counted since the process began.
  struct PoolStats {
    std::string name;
    int limit, in_flight, queue_length;
    std::uint64_t admitted, completed;
    Duration busy;
    std::uint64_t rejected[decision::kRejectReasons];
  };
  struct UpstreamStats {
    std::string name;
    int limit, in_flight, waiting;
    std::uint64_t attempts, ok, errors, timeouts, cancelled, rejected;
    Duration latency;
    Duration oldest;
    decision::BreakerState breaker;
    std::optional<double> usefulness;
    // Of errors: calls that the upstream refused for being too many.
    std::uint64_t refused;
    // Of those that were ok.
    Duration ok_latency;
    // Of the calls in flight.
    Duration mean_age;
    // What callers can wait for an answer, typically.
    Duration patience;
    // Latency is far above what is usual.
    bool in_trouble;
    Duration usual_latency, current_latency;
    // By expect_latency(); zero: not known.
    Duration expected_latency;
    // Calls a second that go out, while the upstream refuses more; unset: any.
    std::optional<double> rate;
    // Of the test for the cause of slowness.
    decision::CauseState cause_state;
    decision::Cause cause;
    // What sets the limit: "max", "bulkhead", "directive", "cause", "min", "none".
    std::string_view bound_by;
    // The fleet looks for the cause; this node does not by itself.
    bool fleet_leads;
    // Only a policy in SHADOW beside the one in force names it: nothing above binds.
    bool only_watched;
  };
  struct BreakerEvent {
    std::string upstream;
    decision::CircuitBreaker::Transition transition;
    std::chrono::system_clock::time_point time;
  };
  struct Stats {
    std::vector<PoolStats> pools;
    std::vector<UpstreamStats> upstreams;
    std::uint64_t resident_bytes;
    Duration cpu;
    std::uint64_t fibers;
    // Share in [0,1] of the memory that requests may use and that is used.
    double memory_pressure;
    // How long what was ready waited for the CPU, on average over the last tick.
    Duration run_delay;
  };
  Stats stats() const;
  // As of the last tick: an upstream is much slower than usual, or tested for the cause of it. Costs nothing.
  bool in_trouble() const;
  // Transitions of breakers since the last call by the one consumer that takes them (the agent).
  std::vector<BreakerEvent> take_breaker_events();
  // The same of all other decisions, at most the latest 1000. Each was logged as one line of JSON when it was made.
  std::vector<NodeDecision> take_decisions();
  // What holds for an upstream and why, with numbers, a fact a line. Throws std::invalid_argument when there is none of
  // that name.
  std::vector<std::string> explain_upstream(std::string_view name) const;

  MetricsRegistry& metrics();

 private:
  friend struct RuntimeAccess;
  void run_offloaded(const std::function<void()>& fn);
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace penstock
