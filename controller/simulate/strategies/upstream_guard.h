#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "controller/simulate/strategy.h"
#include "penstock/decision/fleet_test.h"
#include "penstock/decision/upstream_guard.h"

namespace penstock::simulate {

// What the guard keeps of a call. Its address is the call's as long as the call waits or is out.
struct GuardedCall : decision::UpstreamGuard::Call {
  const Request* request = nullptr;
};

// decision::UpstreamGuard on a simulated node: sends and refuses calls as it decides, and tells the record.
class UpstreamGuard {
 public:
  // `guarded`: the policy names it.
  UpstreamGuard(Host& host, std::uint32_t upstream, const decision::UpstreamPolicy& policy, bool guarded, bool shadow);

  // Sends or refuses it at once, or keeps it.
  void begin(GuardedCall& call, const Request& request, decision::Tenant tenant);
  void set_shares(const std::vector<double>& weights) { guard_.set_shares(weights); }
  // Of a call that was sent.
  void end(GuardedCall& call, const Call& of, Fate fate);
  // Of one that waits.
  void forget(GuardedCall& call) { guard_.withdraw(call); }
  bool may_retry() { return guard_.try_retry(host_.now()); }

  void tick(double memory_pressure, int bulkhead, bool may_test);
  // Of the fleet; unset: none.
  void set_directive(std::optional<int> limit, bool tight, bool leads);
  void expect(Duration latency) { guard_.expect(latency); }
  // What the node last streamed of it.
  decision::FleetTest::Node streamed(std::uint64_t life) const;
  // A verdict of the fleet, for the record.
  void conclude(const decision::CauseTest::Decision& decision);
  void trip(std::string reason);
  void release_lease();

  const decision::UpstreamGuard& decides() const { return guard_; }
  const decision::UpstreamPolicy& policy() const { return guard_.policy(); }
  int in_flight() const { return guard_.in_flight(); }
  int waiting() const { return guard_.waiting(); }
  decision::BreakerState breaker() const { return guard_.breaker().state(); }
  // It opened by its own judgement, not because the fleet said so.
  bool opened_itself() const { return opened_itself_ && breaker() != decision::BreakerState::closed; }
  std::optional<int> limit() const;
  const Exposition::Upstream& counters() const { return counters_; }

 private:
  void send(GuardedCall& call);
  void refuse(GuardedCall& call, decision::RejectReason reason);
  // Carries out what was decided on those that waited, and tells what changed.
  void settle();
  void tell();

  Host& host_;
  const std::uint32_t upstream_;
  const bool shadow_;
  decision::UpstreamGuard guard_;
  decision::Verdicts decided_;
  bool opened_itself_ = false;
  double memory_pressure_ = 0;
  Exposition::Upstream counters_;
};

}  // namespace penstock::simulate
