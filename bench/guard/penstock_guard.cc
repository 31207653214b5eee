#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "bench/guard/naive_guard.h"
#include "bench/switch/nanoseconds.h"
#include "penstock/runtime.h"

// Prints what the guards around a call of nothing cost, on one thread and on two at once, a JSON object a line:
// nanoseconds for each call, by the clock and by the CPU time of the threads, and how many of 1000 calls took a lock
// that the threads share.
namespace {

using namespace penstock;
using namespace std::chrono_literals;

constexpr int kRounds = 200'000;
// After so many, others may have the thread.
constexpr int kTurn = 2000;
constexpr int kLimit = 5000;
constexpr auto kDeadline = 10s;

double slow_paths(Runtime& runtime) {
  const std::string text = runtime.metrics().text();
  const std::string name = "\npenstock_admission_slow_path_total{";
  double sum = 0;
  for (std::size_t at = text.find(name); at != std::string::npos; at = text.find(name, at + 1)) {
    sum += std::strtod(text.c_str() + text.find("} ", at) + 2, nullptr);
  }
  return sum;
}

void measure(Runtime& runtime, const char* subject, const char* what, unsigned threads,
             const std::function<void(int)>& rounds) {
  std::atomic<unsigned> ready{0};
  std::vector<double> wall(threads), cpu(threads);
  std::vector<Fiber> fibers;
  double before = 0;
  for (unsigned i = 0; i < threads; ++i) {
    fibers.push_back(runtime.spawn_on(i, "calls", [&, i] {
      rounds(1000);
      if (i == 0) before = slow_paths(runtime);
      ++ready;
      while (ready < threads) yield();
      const double cpu_before = bench::thread_nanoseconds();
      const auto start = std::chrono::steady_clock::now();
      for (int done = 0; done < kRounds; done += kTurn) {
        rounds(kTurn);
        yield();
      }
      wall[i] = std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - start).count() / kRounds;
      cpu[i] = (bench::thread_nanoseconds() - cpu_before) / kRounds;
    }));
  }
  for (Fiber& fiber : fibers) fiber.join();
  const double slow = (slow_paths(runtime) - before) * 1000 / (static_cast<double>(kRounds) * threads);
  double wall_sum = 0, cpu_sum = 0;
  for (unsigned i = 0; i < threads; ++i) {
    wall_sum += wall[i];
    cpu_sum += cpu[i];
  }
  std::printf(R"({"case": "%s, %u thread%s", "subject": "%s", "ns": %.1f, "cpu_ns": %.1f)", what, threads,
              threads == 1 ? "" : "s", subject, wall_sum / threads, cpu_sum / threads);
  if (std::string_view(subject) == "penstock") std::printf(R"(, "shared_per_1000": %.3f)", slow);
  std::printf("}\n");
}

}  // namespace

int main() {
  Runtime runtime({.service = "bench", .threads = 2});
  decision::Policy policy;
  decision::PoolPolicy pool_policy;
  pool_policy.max = kLimit;
  policy.pools = {pool_policy};
  decision::UpstreamPolicy upstream_policy;
  upstream_policy.name = "payments";
  upstream_policy.hosts = {"payments.internal"};
  upstream_policy.limit.max = kLimit;
  upstream_policy.breaker.error_ratio = 0.5;
  policy.upstreams = {upstream_policy};
  runtime.apply_policy(policy);
  Pool& pool = runtime.pool("default");
  Upstream& upstream = *runtime.find_upstream("payments");
  bench::NaiveLimiter naive_pool(kLimit);
  bench::NaiveGuard naive_upstream(kLimit);
  const auto deadline = [] { return std::chrono::steady_clock::now() + kDeadline; };

  runtime.spawn_on(0, "measures", [&] {
    for (unsigned threads : {1u, 2u}) {
      measure(runtime, "penstock", "pool", threads, [&](int rounds) {
        for (int i = 0; i < rounds; ++i) Pool::Permit permit = pool.acquire();
      });
      measure(runtime, "penstock", "upstream", threads, [&](int rounds) {
        for (int i = 0; i < rounds; ++i) upstream.call([] {});
      });
      measure(runtime, "penstock", "deadline, pool and upstream", threads, [&](int rounds) {
        for (int i = 0; i < rounds; ++i) {
          DeadlineScope scope{Instant(deadline())};
          Pool::Permit permit = pool.acquire();
          upstream.call([] {});
        }
      });
      measure(runtime, "mutex", "pool", threads, [&](int rounds) {
        for (int i = 0; i < rounds; ++i) naive_pool.call([] {});
      });
      measure(runtime, "mutex", "upstream", threads, [&](int rounds) {
        for (int i = 0; i < rounds; ++i) naive_upstream.call(Instant::max(), [] {});
      });
      measure(runtime, "mutex", "deadline, pool and upstream", threads, [&](int rounds) {
        for (int i = 0; i < rounds; ++i) {
          naive_pool.call([&, until = deadline()] { naive_upstream.call(until, [] {}); });
        }
      });
    }
    runtime.stop();
  });
  runtime.run();
}
