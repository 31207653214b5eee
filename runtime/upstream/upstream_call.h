#pragma once

#include <cstddef>
#include <exception>
#include <string>

#include "penstock/decision/circuit_breaker.h"
#include "penstock/upstream.h"
#include "runtime/fiber/fiber_state.h"

namespace penstock {

// Waits of the calling fiber count as waits for an upstream while this lives.
class Attribution {
 public:
  Attribution(const std::string& upstream, fiber::FiberState& fiber)
      : upstream_(&upstream), previous_(std::exchange(fiber.upstream, upstream_)), fiber_(&fiber) {}
  ~Attribution() {
    // A call may be finished by another fiber than began it, or after the next one began: then there is nothing to
    // restore.
    if (fiber::on_fiber() && &fiber::current() == fiber_ && fiber_->upstream == upstream_) {
      fiber_->upstream = previous_;
    }
  }
  Attribution(const Attribution&) = delete;

 private:
  const std::string* upstream_;
  const std::string* previous_;
  fiber::FiberState* fiber_;
};

struct Upstream::Call::State {
  State(const Upstream& of, const std::string& name, fiber::FiberState& fiber)
      : upstream(&of), attribution(name, fiber) {}

  // From what the calling thread keeps of earlier calls.
  static void* operator new(std::size_t size);
  static void operator delete(void* block, std::size_t size) noexcept;

  const Upstream* upstream;
  Attribution attribution;
  decision::CircuitBreaker::Call call;
  // In whose lane the call is; null: in none.
  Shard* shard = nullptr;
  bool tracked = false;
  // Holds a place under the limit; probes do not.
  bool placed = false;
  Instant started{};
  Instant deadline{};
  int exceptions = std::uncaught_exceptions();
};

}  // namespace penstock
