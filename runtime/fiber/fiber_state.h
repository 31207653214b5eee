#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "penstock/error.h"

namespace penstock::fiber {

class Waiter;

// Where the time of one request goes, over all fibers that work for it on their (common) thread.
struct RequestAccount {
  Duration running{};
  // Ready, but another fiber had the thread: CPU saturation or a blocked loop.
  Duration ready{};
  // By upstream; the empty name is everything else (its client, a pool, a sleep). Names outlive the account.
  std::vector<std::pair<const std::string*, Duration>> waiting;

  void add_waiting(const std::string* upstream, Duration d);
};

// What the runtime knows of a fiber. Touched only on the fiber's own thread, but for cancel requests, which are sent
// there.
struct FiberState {
  std::string name;
  Instant deadline = Instant::max();
  bool cancelled = false;
  int shields = 0;
  Waiter* waiter = nullptr;

  RequestAccount* account = nullptr;
  // Upstream that the fiber now waits for; null: none.
  const std::string* upstream = nullptr;
};

// Of the calling fiber. Terminates when the thread runs no scheduler.
FiberState& current();
// Whether the calling thread runs a scheduler, and the caller is one of its fibers.
bool on_fiber() noexcept;
// The clock of the calling thread's scheduler as of its last turn: cheap, at most a turn old.
Instant cached_now() noexcept;
// Index of the calling scheduler thread, in [0, threads); 0 elsewhere.
unsigned thread_index() noexcept;

}  // namespace penstock::fiber
