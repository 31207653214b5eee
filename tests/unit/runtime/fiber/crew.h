#pragma once

#include <chrono>
#include <functional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "penstock/fiber.h"
#include "tests/unit/runtime/fiber/threads.h"

namespace penstock::fiber {

// Fibers on all threads, and plain threads, that do the same at once, while some of the fibers are cancelled at random.
class Crew {
 public:
  using Random = std::mt19937;
  // `member` counts from zero, fibers first.
  using Body = std::function<void(unsigned member, Random& random)>;

  Crew(Threads& threads, unsigned seed) : threads_(threads), seed_(seed) {}

  void start(unsigned fibers, unsigned plain_threads, Body body) {
    for (unsigned i = 0; i < fibers; ++i) {
      fibers_.push_back(threads_[i % threads_.size()].spawn("member " + std::to_string(i), [body, i, seed = seed_] {
        Random random(seed * 1000 + i);
        body(i, random);
      }));
    }
    for (unsigned i = 0; i < plain_threads; ++i) {
      plain_.emplace_back([body, member = fibers + i, seed = seed_] {
        Random random(seed * 1000 + member);
        body(member, random);
      });
    }
  }

  // Each of them at a moment of its own.
  void cancel_some(unsigned count) {
    Random random(seed_);
    for (unsigned i = 0; i < count; ++i) {
      std::this_thread::sleep_for(std::chrono::microseconds(random() % 300));
      fibers_[random() % fibers_.size()].cancel();
    }
  }

  // All end, by themselves or cancelled.
  void join() {
    for (std::thread& thread : plain_) thread.join();
    for (Fiber& fiber : fibers_) {
      try {
        fiber.join();
      } catch (const Cancelled&) {
      }
    }
    fibers_.clear();
    plain_.clear();
  }

 private:
  Threads& threads_;
  const unsigned seed_;
  std::vector<Fiber> fibers_;
  std::vector<std::thread> plain_;
};

}  // namespace penstock::fiber
