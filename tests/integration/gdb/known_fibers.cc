// Fibers in known places, for a debugger to find. Ends with its standard input.
#include <chrono>
#include <cstdio>
#include <thread>

#include "penstock/fiber.h"
#include "penstock/runtime.h"
#include "penstock/sync.h"

namespace shop {

[[gnu::noinline]] void sleeps_until_morning() {
  penstock::sleep_for(std::chrono::hours(1));
  asm volatile("");
}

[[gnu::noinline]] void naps() {
  sleeps_until_morning();
  asm volatile("");
}

[[gnu::noinline]] void waits_for_the_sleeper(penstock::Fiber& sleeper) {
  sleeper.join();
  asm volatile("");
}

}  // namespace shop

int main() {
  penstock::Runtime runtime({.service = "known", .threads = 2});
  for (int i = 0; i < 3; ++i) runtime.spawn_on(1, "night watch", [] { shop::sleeps_until_morning(); });
  penstock::Event ready;
  runtime.spawn_on(1, "parent", [&ready] {
    const penstock::DeadlineScope deadline(std::chrono::steady_clock::now() + std::chrono::hours(1));
    penstock::Fiber child = penstock::spawn("child", [] { shop::naps(); });
    penstock::spawn("last", [&ready] { ready.set(); });
    shop::waits_for_the_sleeper(child);
  });
  ready.wait();
  std::puts("ready");
  std::fflush(stdout);
  while (std::getchar() != EOF) {
  }
}
