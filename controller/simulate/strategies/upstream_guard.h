#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "controller/simulate/strategy.h"
#include "penstock/decision/admission.h"
#include "penstock/decision/circuit_breaker.h"
#include "penstock/decision/retry_budget.h"

// The guard of one upstream on one node, put together as in runtime/upstream: a breaker, a limit with a queue before
// it, and a budget of retries.
namespace penstock::simulate {

// What the guard keeps of a call. Its address is the call's as long as the call waits or is out.
struct GuardedCall : decision::Ticket {
  const Request* request = nullptr;
  decision::CircuitBreaker::Call call;
  // The breaker knows of it.
  bool tracked = false;
  // It holds a place under the limit; probes do not.
  bool placed = false;
  Instant started{};
  Instant call_deadline{};
};

class UpstreamGuard {
 public:
  // `guarded`: the policy names it.
  UpstreamGuard(Host& host, std::uint32_t upstream, const decision::UpstreamPolicy& policy, bool guarded, bool shadow);

  // Sends or refuses it at once, or keeps it.
  void begin(GuardedCall& call, const Request& request);
  // Of a call that was sent.
  void end(GuardedCall& call, Fate fate);
  // Of one that waits.
  void forget(GuardedCall& call);
  bool may_retry() { return retries_.try_retry(host_.now()); }

  void tick(double memory_pressure, int bulkhead);
  // Of the fleet; unset: none.
  void set_directive(std::optional<int> limit);
  void trip(std::string reason);
  void release_lease();

  const decision::UpstreamPolicy& policy() const { return policy_; }
  int in_flight() const { return in_flight_; }
  int waiting() const { return admission_.queue_length(); }
  decision::BreakerState breaker() const { return breaker_.state(); }
  // It opened by its own judgement, not because the fleet said so.
  bool opened_itself() const { return opened_itself_ && breaker_.state() != decision::BreakerState::closed; }
  std::optional<int> limit() const;
  const Exposition::Upstream& counters() const { return counters_; }

 private:
  int limit_in_force() const;
  void update_limit();
  bool pass_breaker(GuardedCall& call, Duration patience);
  void start(GuardedCall& call);
  void refuse(GuardedCall& call, decision::RejectReason reason);
  // Carries out what the admission decided on those that waited, and what follows from a change of the breaker.
  void settle();

  Host& host_;
  const std::uint32_t upstream_;
  const decision::UpstreamPolicy policy_;
  const bool guarded_;
  const bool shadow_;
  std::optional<int> directive_;
  int bulkhead_;
  decision::Admission admission_;
  decision::QueuePolicy queue_;
  decision::CircuitBreaker breaker_;
  decision::RetryBudget retries_;
  std::vector<GuardedCall*> queued_;
  std::vector<decision::Verdict> decided_;
  std::vector<decision::Verdict> carrying_out_;
  int in_flight_ = 0;
  bool opened_itself_ = false;
  Exposition::Upstream counters_;
};

}  // namespace penstock::simulate
