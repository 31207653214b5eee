#pragma once

#include <functional>
#include <vector>

#include "penstock/runtime.h"

namespace penstock {

// Calls what it is given on a fiber that is interrupted meanwhile, and returns when that fiber has ended.
using Interrupted = std::function<void(std::function<void()>)>;

// One wait of the public API, on something that will not happen; around it, what makes it wait.
struct HopelessWait {
  const char* name;
  std::function<void(Runtime& runtime, const Interrupted& interrupted)> wait;
  // Pools and upstreams say Rejected where nothing was begun.
  enum Refuses {
    never,
    past_the_deadline,
    at_the_deadline,
  } refuses = never;
};

// Of all that waits.
std::vector<HopelessWait> hopeless_waits();

}  // namespace penstock
