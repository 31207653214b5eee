#include "controller/simulate/rivals/rivals.h"

#include <algorithm>
#include <memory>
#include <set>
#include <stdexcept>
#include <utility>

#include "controller/simulate/rivals/aimd.h"
#include "controller/simulate/rivals/brpc_auto.h"
#include "controller/simulate/rivals/counted.h"
#include "controller/simulate/rivals/envoy_gradient.h"
#include "controller/simulate/rivals/failsafe_adaptive.h"
#include "controller/simulate/rivals/failsafe_queue.h"
#include "controller/simulate/rivals/gradient2.h"
#include "controller/simulate/rivals/pid_shedder.h"
#include "controller/simulate/rivals/resilience4j.h"
#include "controller/simulate/rivals/sre_throttle.h"
#include "controller/simulate/rivals/userver_linear.h"
#include "controller/simulate/rivals/userver_rps.h"
#include "controller/simulate/rivals/vegas.h"

namespace penstock::simulate {
namespace {

using Parts = std::function<Gate::Parts(std::uint64_t)>;

// Of a node: 640 on the two of the reference world.
constexpr int kThreads = 320;
// What the caps of the fair forms are raised to: the default of a policy's limit.max.
constexpr int kRaised = decision::LimitPolicy{}.max;

// The queue that Netflix has for its limiters, LifoBlockingLimiter.java: backlogSize, backlogTimeout.
constexpr Line::Rule kNetflixBacklog{
    .order = Line::Order::lifo, .max = 100, .max_wait = std::chrono::milliseconds(1000)};

// What lets Envoy's and brpc's rules work at the rate of one upstream of one node. Pinned to 3, it takes 50 answers of
// 5 s more than a minute to be measured; and below a hundred answers a second brpc throws each window away.
EnvoyGradient::Options envoy_fair(int min) {
  EnvoyGradient::Options options;
  options.max = kRaised;
  options.min = min;
  return options;
}
// The example of the filter's documentation: 90th percentile, min_concurrency 50, jitter 10 %,
// min_concurrency_limit 25.
EnvoyGradient::Options envoy_documented() {
  EnvoyGradient::Options options = envoy_fair(50);
  options.percentile = 0.9;
  options.jitter = 0.1;
  options.min_limit = 25;
  return options;
}
BrpcAuto::Options brpc_fair() {
  BrpcAuto::Options options;
  options.min_samples = 10;
  options.floor = options.initial;
  return options;
}

template <typename L>
Parts limiter(std::optional<Line::Rule> line, const typename L::Options& options) {
  return [=](std::uint64_t seed) {
    Gate::Parts parts;
    if constexpr (std::is_constructible_v<L, const typename L::Options&, std::uint64_t>) {
      parts.limiter = std::make_unique<L>(options, seed);
    } else {
      parts.limiter = std::make_unique<L>(options);
    }
    parts.line = line;
    return parts;
  };
}
template <typename L>
Parts limiter(const typename L::Options& options) {
  return limiter<L>(std::nullopt, options);
}

Parts breaker(const Resilience4j::Options& options) {
  return [options](std::uint64_t) {
    return Gate::Parts{.limiter = std::make_unique<Resilience4j>(options), .reason = decision::RejectReason::breaker};
  };
}

Parts failsafe_with_queue(const FailsafeAdaptive::Options& options) {
  return [options](std::uint64_t) {
    return Gate::Parts{.limiter = std::make_unique<FailsafeAdaptive>(options),
                       .line = Line::Rule{},
                       .shedder = std::make_unique<FailsafeQueue>()};
  };
}

Parts cinnamon(const FailsafeAdaptive::Options& tuner) {
  return [tuner](std::uint64_t) {
    const PidShedder::Options options;
    return Gate::Parts{.limiter = std::make_unique<FailsafeAdaptive>(tuner),
                       .line = Line::Rule{.order = Line::Order::priority, .max_wait = options.max_wait},
                       .shedder = std::make_unique<PidShedder>(options)};
  };
}

Parts places(int places, const Line::Rule& line) {
  return [=](std::uint64_t) { return Gate::Parts{.limiter = std::make_unique<FixedLimiter>(places), .line = line}; };
}

constexpr Line::Rule kAdaptiveLifo{.order = Line::Order::adaptive_lifo};

Composition on_threads(Parts door, Parts upstream = nullptr) {
  return {.threads = kThreads, .deadlines = false, .door = std::move(door), .upstream = std::move(upstream)};
}
Composition on_fibers(Parts door) { return {.deadlines = false, .door = std::move(door)}; }
Composition fair(Parts upstream) { return {.upstream = std::move(upstream)}; }

std::vector<Rival> make() {
  // Those without "fair" know neither deadlines nor cancellation.
  constexpr std::string_view at_door = "limit at the door of 320 threads a node";
  constexpr std::string_view at_fibers = "limit at the door, on fibers";
  constexpr std::string_view backlog = "limit per upstream up to 5000, newest-first backlog of 100 and 1 s; deadlines";
  constexpr std::string_view means =
      "limit per upstream up to 5000 on means of a second, newest-first backlog of 100 and 1 s; deadlines";
  constexpr std::string_view breakers = "breaker per upstream, 320 threads a node";
  constexpr std::string_view fair_breakers = "breaker per upstream; deadlines";
  constexpr std::string_view vegas = "github.com/Netflix/concurrency-limits, VegasLimit.java";
  constexpr std::string_view gradient2 =
      "github.com/Netflix/concurrency-limits, Gradient2Limit.java in WindowedLimit.java";
  constexpr std::string_view aimd = "github.com/Netflix/concurrency-limits, AIMDLimit.java";
  constexpr std::string_view envoy =
      "github.com/envoyproxy/envoy, adaptive_concurrency/controller/gradient_controller.cc";
  constexpr std::string_view brpc = "github.com/apache/brpc, auto_concurrency_limiter.cpp";
  constexpr std::string_view failsafe = "github.com/failsafe-go/failsafe-go, adaptivelimiter/adaptivelimiter.go";
  constexpr std::string_view r4j = "github.com/resilience4j/resilience4j, CircuitBreakerConfig.java, defaults";
  constexpr std::string_view r4j_example =
      "resilience4j.readme.io, CircuitBreaker, example of a configuration: slow from 2 s, 50 %";
  constexpr std::string_view fail_at_scale = "B. Maurer, Fail at Scale, ACM Queue 13(8), 2015";
  constexpr std::string_view uber = "Uber Engineering, PID Controller for Cinnamon, 30 November 2023";
  constexpr std::string_view sre = "Site Reliability Engineering, O'Reilly 2016, chapter 21, equation 21-1";

  std::vector<Rival> all{
      {"threads-640", "thread pools of servers and frameworks", "320 threads a node, first come, first served",
       on_threads(nullptr)},
      {"unlimited", "servers on coroutines", "fibers without a limit; deadlines", fair(nullptr)},

      {"vegas", vegas, at_door, on_threads(limiter<Vegas>({}))},
      {"vegas-fair", vegas, means, fair(limiter<Vegas>(kNetflixBacklog, {.max = kRaised, .windowed = true}))},

      {"gradient2", gradient2, at_door, on_threads(limiter<Gradient2>({}))},
      {"gradient2-upstream", gradient2, "limit per upstream, 320 threads a node",
       on_threads(nullptr, limiter<Gradient2>({}))},
      {"gradient2-fair", gradient2, backlog, fair(limiter<Gradient2>(kNetflixBacklog, {.max = kRaised}))},

      {"aimd", aimd, at_door, on_threads(limiter<Aimd>({}))},
      {"aimd-fair", aimd, backlog, fair(limiter<Aimd>(kNetflixBacklog, {.max = kRaised}))},

      {"envoy", envoy, at_door, on_threads(limiter<EnvoyGradient>({}))},
      {"envoy-fair", envoy, "limit per upstream from 10 to 5000; deadlines",
       fair(limiter<EnvoyGradient>(envoy_fair(10)))},
      {"envoy-50-fair", envoy, "limit per upstream from 50 to 5000; deadlines",
       fair(limiter<EnvoyGradient>(envoy_fair(50)))},
      {"envoy-documented-fair", envoy,
       "limit per upstream from 25 to 5000 as in the documentation's example, its ideal measured without a pin; "
       "deadlines",
       fair(limiter<EnvoyGradient>(envoy_documented()))},

      {"brpc", brpc, at_fibers, on_fibers(limiter<BrpcAuto>({}))},
      {"brpc-fair", brpc, "limit per upstream from 40 on, windows of 10 samples; deadlines",
       fair(limiter<BrpcAuto>(brpc_fair()))},

      {"failsafe", failsafe, at_fibers, on_fibers(limiter<FailsafeAdaptive>({}))},
      {"failsafe-fair", failsafe, "limit per upstream up to 5000 with its queue; deadlines",
       fair(failsafe_with_queue({.max = kRaised}))},

      {"resilience4j", r4j, breakers, on_threads(nullptr, breaker({}))},
      {"resilience4j-fair", r4j, fair_breakers, fair(breaker({}))},
      {"resilience4j-2s", r4j_example, breakers, on_threads(nullptr, breaker(Resilience4j::documented_example()))},
      {"resilience4j-2s-fair", r4j_example, fair_breakers, fair(breaker(Resilience4j::documented_example()))},

      {"codel-lifo",
       fail_at_scale,
       "320 threads a node behind CoDel with adaptive LIFO",
       {.threads = kThreads, .wait_for_thread = kAdaptiveLifo, .deadlines = false}},
      {"codel-lifo-fair", fail_at_scale, "320 calls to each upstream behind CoDel with adaptive LIFO; deadlines",
       fair(places(kThreads, kAdaptiveLifo))},

      {"pid", uber, "rejector, priority queue and tuned limit at the door, on fibers", on_fibers(cinnamon({}))},
      {"pid-fair", uber, "rejector, priority queue and tuned limit per upstream; deadlines",
       fair(cinnamon({.max = kRaised}))},

      {"sre-throttle", sre, "throttle per upstream, 320 threads a node", on_threads(nullptr, limiter<SreThrottle>({}))},
      {"sre-throttle-fair", sre, "throttle per upstream; deadlines", fair(limiter<SreThrottle>({}))},

      {"userver", "github.com/userver-framework/userver, congestion_control/controller.cpp",
       "limit of requests a second by the CPU's queue, on fibers", on_fibers(limiter<UserverRps>({}))},
      {"userver-fair", "github.com/userver-framework/userver, congestion_control/controllers/linear.cpp",
       "its limit of calls, per upstream; deadlines", fair(limiter<UserverLinear>({}))},
  };
  return all;
}

}  // namespace

const std::vector<Rival>& rivals() {
  static const std::vector<Rival> all = make();
  return all;
}

std::vector<const Rival*> parse_rivals(std::string_view list) {
  std::set<std::string_view> wanted;
  const bool everyone = list == "all";
  if (!everyone && list != "none") {
    for (std::size_t from = 0; from <= list.size();) {
      const std::size_t to = std::min(list.find(',', from), list.size());
      const std::string_view name = list.substr(from, to - from);
      if (std::ranges::find(rivals(), name, &Rival::name) == rivals().end()) {
        std::string known;
        for (const Rival& rival : rivals()) known += (known.empty() ? "" : ", ") + std::string(rival.name);
        throw std::invalid_argument("unknown rival \"" + std::string(name) + "\"; known: all, none, " + known);
      }
      wanted.insert(name);
      from = to + 1;
    }
  }
  std::vector<const Rival*> chosen;
  for (const Rival& rival : rivals()) {
    if (everyone || wanted.contains(rival.name)) chosen.push_back(&rival);
  }
  return chosen;
}

}  // namespace penstock::simulate
