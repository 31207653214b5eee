#include <cstdio>
#include <utility>

#include "bench/switch/sync_costs.h"
#include "penstock/runtime.h"

// Prints what switches between fibers of one thread cost, in nanoseconds, as one JSON object. Stacks are guarded.
namespace {

using namespace penstock;

constexpr int kRounds = 1'000'000;

// Of two fibers in turn, each.
double yield_ns() {
  return bench::nanoseconds_each(kRounds, [] {
    const auto loop = [] {
      for (int i = 0; i < kRounds / 2; ++i) yield();
    };
    Fiber other = spawn("other", loop);
    loop();
    other.join();
  });
}

double spawn_join_ns() {
  return bench::nanoseconds_each(kRounds, [] {
    for (int i = 0; i < kRounds; ++i) spawn("fiber", [] {}).join();
  });
}

// All are started before the first is joined: each batch has so many stacks in use.
double spawn_many_ns(int many) {
  return bench::nanoseconds_each(kRounds / many * many, [many] {
    std::vector<Fiber> fibers(static_cast<std::size_t>(many));
    for (int i = 0; i < kRounds / many; ++i) {
      for (Fiber& fiber : fibers) fiber = spawn("fiber", [] { yield(); });
      for (Fiber& fiber : fibers) fiber.join();
    }
  });
}

// What a deadline adds to a wait that it does not end.
double timer_ns() {
  return bench::added_ns([](bool with_deadline) { return bench::ping_pong_ns(kRounds / 20, with_deadline) / 2; });
}

// A fiber for later that is stopped before its time.
double spawn_later_ns() {
  return bench::nanoseconds_each(kRounds, [] {
    for (int i = 0; i < kRounds; ++i) {
      spawn_after(std::chrono::hours(1), "timer", [] {}).cancel();
      if (i % 10'000 == 0) yield();
    }
  });
}

}  // namespace

int main() {
  Runtime runtime({.threads = 1});
  runtime
      .spawn("bench",
             [] {
               yield_ns();
               const std::pair<const char*, double> figures[] = {
                   {"yield_ns", yield_ns()},
                   {"spawn_join_ns", spawn_join_ns()},
                   {"handoff_ns", bench::ping_pong_ns(kRounds / 2) / 2},
                   {"timer_ns", timer_ns()},
                   {"timer_of_10000_ns", bench::deadline_in_crowd_ns(10'000)},
                   {"spawn_later_ns", spawn_later_ns()},
                   {"channel_ns", bench::channel_ns(kRounds)},
                   {"buffered_channel_ns", bench::channel_ns(kRounds, 64)},
                   {"mutex_ns", bench::mutex_ns(kRounds)},
                   {"contended_mutex_ns", bench::contended_mutex_ns(kRounds)},
                   {"spawn_100_ns", spawn_many_ns(100)},
               };
               char before = '{';
               for (const auto& [name, figure] : figures) {
                 std::printf("%c\"%s\":%.1f", before, name, figure);
                 before = ',';
               }
               std::printf("}\n");
             })
      .join();
}
