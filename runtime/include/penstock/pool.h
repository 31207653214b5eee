#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "penstock/decision/policy.h"
#include "penstock/decision/shares.h"
#include "penstock/error.h"

namespace penstock {

using decision::Priority;

// A number of requests in flight on this node, with a bounded, prioritised queue before it.
//
// Thread-safe. The limit is exact for the whole node, over all scheduler threads; it can change while requests run: up
// at once, down by draining, never by killing. Who waits is admitted by priority, and within a priority by the share of
// the tenant of the request that the fiber works for (decision/shares.h). While places are free and nobody waits,
// threads share no cache line that acquire() or the end of a permit writes.
class Pool {
 public:
  // The right to be in flight. Ends when destroyed.
  class Permit {
   public:
    Permit() = default;
    Permit(Permit&& other) noexcept;
    Permit& operator=(Permit&& other) noexcept;
    ~Permit();
    explicit operator bool() const { return pool_ != nullptr; }

   private:
    friend class Pool;
    Permit(Pool* pool, Instant since, decision::Tenant tenant) : pool_(pool), since_(since), tenant_(tenant) {}
    Pool* pool_ = nullptr;
    Instant since_{};
    decision::Tenant tenant_ = decision::kUncounted;
  };

  // From a fiber. Waits for a place, at most the queue's max_wait and the fiber's deadline. Throws Rejected when
  // refused, Cancelled when the fiber is cancelled. A cancelled or expired wait leaves no trace in the queue.
  Permit acquire(Priority priority = Priority::normal);

  const std::string& name() const;
  int limit() const;
  int in_flight() const;
  int queue_length() const;

  // Imposes a limit from now on, until Runtime::release_lease(); the policy's max and memory still bound it. Throws
  // std::invalid_argument below 1.
  void set_limit(int limit);

  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

 private:
  friend struct PoolAccess;
  struct Shard;
  struct State;
  explicit Pool(std::unique_ptr<State> state);
  Permit acquire_slowly(Priority priority, Instant arrived, Instant deadline);
  void release(Instant since, decision::Tenant tenant);
  std::unique_ptr<State> state_;
};

}  // namespace penstock
