// What a node's loop over its upstreams costs: bench-node-tick UPSTREAMS TROUBLED CALLS warm|cold|hot [SECONDS]
// Each upstream gets CALLS calls a second (0 to 200) that take 50 ms; then those in trouble answer every other call
// after 2 s, and the rest never. Real time, real calls on fibers of the same thread. `warm`: as it comes; `cold`:
// before each tick more memory is read than the caches hold, so that nothing of the node is in any; `hot`: another tick
// comes right before each. Prints JSON: CPU time of a tick of the registry, in microseconds.
#include <spdlog/spdlog.h>
#include <algorithm>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "bench/switch/nanoseconds.h"
#include "penstock/error.h"
#include "penstock/fiber.h"
#include "penstock/metrics.h"
#include "penstock/runtime.h"
#include "runtime/registry.h"

namespace {

using namespace penstock;
using namespace std::chrono_literals;

constexpr auto kTick = 100ms;
constexpr auto kPace = 5ms;
constexpr std::size_t kMostCalls = 1s / kPace;
// More than the last cache of any processor that this is run on.
constexpr std::size_t kEvicted = 128 << 20;
constexpr auto kHealthy = 5s;
// Until the first calls that are never answered have ended, and the first tests.
constexpr auto kSettles = 8s;

struct Plan {
  std::size_t upstreams;
  std::size_t troubled;
  // Each upstream is called every so many times kPace; 0: never.
  std::size_t turns;
  Instant trouble;
  Instant end;
};

void call(Upstream& upstream, Duration latency) {
  try {
    upstream.call([&] { sleep_for(latency); });
  } catch (const Rejected&) {
  } catch (const DeadlineExceeded&) {
  }
}

void pace(const std::vector<Upstream*>& upstreams, const Plan& plan) {
  std::size_t turn = 0;
  for (Instant next = std::chrono::steady_clock::now(); next < plan.end; next += kPace) {
    sleep_until(next);
    if (plan.turns == 0) continue;
    const bool answered = turn / plan.turns % 2 == 0;
    for (std::size_t i = turn++ % plan.turns; i < upstreams.size(); i += plan.turns) {
      Duration latency = 50ms;
      if (i < plan.troubled && next >= plan.trouble) latency = answered ? Duration(2s) : Duration(1h);
      spawn("call", [&upstream = *upstreams[i], latency] { call(upstream, latency); });
    }
  }
}

// Reads more than the caches hold, a byte of each line.
class Evictor {
 public:
  void evict() {
    std::size_t sum = 0;
    for (std::size_t i = 0; i < memory_.size(); i += 64) sum += static_cast<unsigned char>(memory_[i]);
    read_ = sum;
  }

 private:
  std::vector<char> memory_ = std::vector<char>(kEvicted, 1);
  volatile std::size_t read_ = 0;
};

}  // namespace

int main(int argc, char** argv) {
  const int calls = argc > 3 ? std::atoi(argv[3]) : -1;
  if (argc < 5 || calls < 0 || calls > static_cast<int>(kMostCalls)) return 2;
  const bool cold = std::string_view(argv[4]) == "cold";
  const bool hot = std::string_view(argv[4]) == "hot";
  spdlog::set_level(spdlog::level::off);
  const Instant began = std::chrono::steady_clock::now();
  const auto seconds = std::chrono::seconds(argc > 5 ? std::atoi(argv[5]) : 8);
  const Plan plan{.upstreams = static_cast<std::size_t>(std::atoi(argv[1])),
                  .troubled = static_cast<std::size_t>(std::atoi(argv[2])),
                  .turns = calls == 0 ? 0 : kMostCalls / static_cast<std::size_t>(calls),
                  .trouble = began + kHealthy,
                  .end = began + kHealthy + kSettles + seconds};
  Runtime runtime({.service = "bench", .threads = 1});
  MetricsRegistry metrics;
  Registry registry(metrics);
  decision::Policy policy;
  for (std::size_t i = 0; i < plan.upstreams; ++i) {
    decision::UpstreamPolicy upstream;
    upstream.name = "upstream-" + std::to_string(i);
    upstream.hosts = {upstream.name + ".example.com"};
    upstream.timeout = 5s;
    upstream.breaker.error_ratio = 0.9;
    policy.upstreams.push_back(upstream);
  }
  registry.apply(policy);
  std::vector<Upstream*> upstreams;
  for (const auto& upstream : policy.upstreams) upstreams.push_back(registry.find_upstream(upstream.name));

  std::vector<double> cost;
  Evictor evictor;
  runtime.spawn_on(0, "paces", [&] { pace(upstreams, plan); });
  runtime.spawn_on(0, "ticks", [&] {
    for (Instant next = std::chrono::steady_clock::now(); next < plan.end; next += kTick) {
      sleep_until(next);
      if (cold) evictor.evict();
      if (hot) registry.tick(std::chrono::steady_clock::now());
      const double before = bench::thread_nanoseconds();
      registry.tick(std::chrono::steady_clock::now());
      const double took = bench::thread_nanoseconds() - before;
      if (next >= plan.trouble + kSettles) cost.push_back(took / 1e3);
    }
    std::size_t in_trouble = 0;
    int in_flight = 0;
    for (const auto& stats : registry.upstream_stats()) {
      in_trouble += stats.in_trouble || stats.breaker != decision::BreakerState::closed;
      in_flight += stats.in_flight + stats.waiting;
    }
    std::ranges::sort(cost);
    std::puts(boost::json::serialize(boost::json::object{{"upstreams", plan.upstreams},
                                                         {"in_trouble", in_trouble},
                                                         {"calls", in_flight},
                                                         {"tick_us", cost[cost.size() / 2]},
                                                         {"p99_tick_us", cost[cost.size() * 99 / 100]}})
                  .c_str());
    std::fflush(stdout);
    // What still waits need not be waited for.
    std::_Exit(0);
  });
  runtime.run();
}
