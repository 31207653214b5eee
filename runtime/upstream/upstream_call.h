#pragma once

#include <cstddef>
#include <exception>
#include <memory>
#include <string>

#include "penstock/decision/upstream_guard.h"
#include "penstock/upstream.h"
#include "runtime/fiber/fiber_state.h"
#include "runtime/upstream/watching_guard.h"

namespace penstock {

class Waiting;

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

struct Upstream::Call::State : decision::UpstreamGuard::Call {
  State(const Upstream& of, const std::string& name, fiber::FiberState& fiber)
      : upstream(&of), attribution(name, fiber) {}

  // From what the calling thread keeps of earlier calls.
  static void* operator new(std::size_t size);
  static void operator delete(void* block, std::size_t size) noexcept;

  const Upstream* upstream;
  Attribution attribution;
  // In whose lane the call is; null: in none.
  Shard* shard = nullptr;
  // What a policy in SHADOW is told of it; null: there is none.
  struct Watched {
    std::shared_ptr<WatchingGuard> by;
    WatchingGuard::Call call;
  };
  std::unique_ptr<Watched> watched;
  // While it waits for a place.
  Waiting* fiber = nullptr;
  int exceptions = std::uncaught_exceptions();
};

inline decision::GuardedOutcome to_guarded(CallOutcome outcome) {
  switch (outcome) {
    case CallOutcome::ok:
      return decision::GuardedOutcome::ok;
    case CallOutcome::timeout:
      return decision::GuardedOutcome::timeout;
    case CallOutcome::cancelled:
      return decision::GuardedOutcome::cancelled;
    case CallOutcome::error:
      return decision::GuardedOutcome::error;
  }
  return decision::GuardedOutcome::error;
}

// As it is counted: what the upstream refused is an error.
inline CallOutcome to_call_outcome(decision::GuardedOutcome outcome) {
  switch (outcome) {
    case decision::GuardedOutcome::ok:
      return CallOutcome::ok;
    case decision::GuardedOutcome::timeout:
      return CallOutcome::timeout;
    case decision::GuardedOutcome::cancelled:
      return CallOutcome::cancelled;
    case decision::GuardedOutcome::error:
    case decision::GuardedOutcome::refused:
      return CallOutcome::error;
  }
  return CallOutcome::error;
}

}  // namespace penstock
