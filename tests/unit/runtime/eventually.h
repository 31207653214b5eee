#pragma once

#include <chrono>
#include <functional>

#include "penstock/fiber.h"

namespace penstock {

// Waits, on a fiber, until the condition holds; false when it does not within ten seconds.
inline bool eventually(const std::function<bool()>& holds) {
  const Instant give_up = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (!holds()) {
    if (std::chrono::steady_clock::now() > give_up) return false;
    sleep_for(std::chrono::milliseconds(1));
  }
  return true;
}

}  // namespace penstock
