#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <vector>

#include "controller/simulate/rivals/limiter.h"
#include "controller/simulate/strategy.h"

// Threads or fibers, with or without deadlines and cancellation, with published limiters at the door and before each
// upstream: what services are usually made of.
namespace penstock::simulate {

struct Form {
  // Per node; 0: fibers, as many as are wanted.
  int threads = 0;
  // Requests end at the deadline that the policy gives their route, calls at the policy's time-out. Without it calls
  // end at `socket_timeout`, and requests when they are done.
  bool deadlines = true;
  bool cancels = true;
  Duration socket_timeout = std::chrono::seconds(30);

  enum class Queue {
    // First come, first served, without a bound.
    fifo,
    // The newest first once the oldest has waited for `target`, else the oldest.
    adaptive_lifo,
  };
  Queue queue = Queue::fifo;
  Duration target = std::chrono::milliseconds(50);

  // What it does not let in at the door is refused when it arrives. Null: all is let in.
  std::function<std::unique_ptr<Limiter>(const Scenario&, std::uint64_t seed)> door;
  // One for each upstream; a call that it does not let out fails at once. Null: all go out.
  std::function<std::unique_ptr<Limiter>(const Scenario&, std::uint64_t seed)> upstream;
};

// An ensemble of nodes of that form, which know nothing of each other.
std::unique_ptr<Ensemble> make_limited(Form form, std::uint64_t seed);

}  // namespace penstock::simulate
