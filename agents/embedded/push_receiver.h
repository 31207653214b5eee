#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <unordered_set>

#include "absl/status/status.h"
#include "penstock/decision/policy.h"
#include "penstock/decision/time.h"
#include "penstock/runtime.h"
#include "penstock/v1/agent.pb.h"
#include "proto/errors/error.h"

namespace penstock::agent {

// Judges pushes and carries them out on the runtime: wholly, or not at all. Keeps the lease.
//
// Not thread-safe. A push carries what changed; what it does not name stays as it is until the lease ends. The policy
// outlives the lease: when directives expire, its own fallback rules govern.
class PushReceiver {
 public:
  // `local` governs while no controller has pushed a policy. It is not applied here.
  PushReceiver(Runtime& runtime, decision::Policy local);

  // A new stream: nonces begin anew.
  void open_stream();

  // The answer to send. With an error in it, nothing has changed.
  v1::Ack receive(const v1::Push& push, decision::Instant now);

  // Returns directives to the policy's fallback if the lease has ended; true when that happened now.
  bool expire(decision::Instant now);

  // What the controller asks for; unset: nothing.
  std::optional<decision::Duration> counters_period() const { return counters_period_; }

  bool leased() const { return lease_end_.has_value(); }
  // Instant::max() without a lease.
  decision::Instant lease_end() const { return lease_end_.value_or(decision::Instant::max()); }
  decision::Duration lease_left(decision::Instant now) const;

  std::uint64_t epoch() const { return epoch_; }
  std::uint64_t version() const { return version_; }
  // Of the controller's policy; 0 while the local one governs.
  std::int64_t policy_revision() const { return revision_; }
  std::uint64_t taken() const { return taken_; }
  std::uint64_t refused() const { return refused_; }
  // Name of the reason of the last refusal.
  const std::string& refusal() const { return refusal_; }

 private:
  // Nonces remembered on one stream; one beyond that replaces the stream's memory of the oldest half.
  static constexpr std::size_t kNonces = 4096;

  std::optional<errors::Error> judge(const v1::Push& push, std::optional<decision::Policy>& policy);
  std::optional<errors::Error> judge_directives(const v1::Push& push, const decision::Policy& policy) const;
  void carry_out(const v1::Push& push);
  void carry_out(const v1::UpstreamDirective& directive);
  void watch(const v1::Policy& shadow);

  Runtime& runtime_;
  const decision::Policy local_;
  // In force.
  decision::Policy policy_;
  std::int64_t revision_ = 0;
  std::uint64_t epoch_ = 0;
  std::uint64_t version_ = 0;
  std::optional<decision::Instant> lease_end_;
  // Breaker directives in force, so that a repeated TRIP does not trip again.
  std::map<std::string, v1::BreakerOverride> breakers_;
  std::unordered_set<std::string> nonces_;
  std::unordered_set<std::string> older_nonces_;
  std::uint64_t taken_ = 0;
  std::uint64_t refused_ = 0;
  std::string refusal_;
  std::optional<decision::Duration> counters_period_;
};

}  // namespace penstock::agent
