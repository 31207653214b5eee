#pragma once

#include <cstdint>
#include <functional>
#include <memory>

#include "controller/simulate/rivals/gate.h"
#include "controller/simulate/strategy.h"

// What services are usually made of: threads or fibers, deadlines and cancellation or neither, and published limiters
// at the door or before each upstream.
namespace penstock::simulate {

struct Composition {
  // Of a node; 0: fibers, as many as are wanted.
  int threads = 0;
  // How requests wait for a thread.
  Line::Rule wait_for_thread;
  // Requests end at the deadline that the policy gives their route, calls at the policy's time-out, and work whose
  // client has left is given up. Without it calls end at socket_timeout, and requests when they are done.
  bool deadlines = true;
  Duration socket_timeout = std::chrono::seconds(30);
  // What stands before all of a node's requests, before those wait for a thread. Null: nothing.
  std::function<Gate::Parts(std::uint64_t seed)> door;
  // What stands before the calls to an upstream. Null: nothing.
  std::function<Gate::Parts(std::uint64_t seed)> upstream;
};

// The nodes know nothing of each other.
std::unique_ptr<Ensemble> compose(const Composition& composition, std::uint64_t seed);

}  // namespace penstock::simulate
