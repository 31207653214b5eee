#include <cstdio>

#include "bench/switch/sync_costs.h"
#include "penstock/runtime.h"

// Prints what hand-offs between fibers cost, as a JSON object.
int main() {
  using namespace penstock;
  constexpr int kCount = 1'000'000;
  Runtime runtime({.threads = 1});
  runtime
      .spawn("bench",
             [] {
               std::printf(
                   "{\"channel_ns\": %.1f, \"buffered_channel_ns\": %.1f, \"ping_pong_ns\": %.1f, \"mutex_ns\": %.1f, "
                   "\"contended_mutex_ns\": %.1f}\n",
                   bench::channel_ns(kCount), bench::channel_ns(kCount, 64), bench::ping_pong_ns(kCount),
                   bench::mutex_ns(kCount), bench::contended_mutex_ns(kCount));
             })
      .join();
}
