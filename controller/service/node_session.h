#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "controller/clock.h"
#include "controller/fleet/fleet.h"
#include "controller/service/roles.h"
#include "controller/store/decision_log.h"
#include "penstock/v1/agent.pb.h"

namespace penstock::controller {

// One node's stream without its transport: judges what the node says, and composes what it is told.
//
// Not thread-safe. At most one push waits for its answer; what changes in between goes into the next one. A push that
// is refused is not repeated before its content changes or kRefusalHold has passed; the lease on what is in force is
// renewed meanwhile.
class NodeSession {
 public:
  static constexpr std::chrono::seconds kRefusalHold{10};
  // The lease of a node that holds a limit of the fleet's test for causes, if that is shorter: a limit that nobody
  // moves any more is soon wrong.
  static constexpr std::chrono::seconds kTestLease{5};

  struct Context {
    Fleet& fleet;
    DecisionLog& log;
    Clock& clock;
    std::uint64_t epoch;
    decision::Duration ttl;
  };

  // `wake` and `replaced` as Fleet::connect describes them.
  NodeSession(Context context, Caller caller, Fleet::Wake wake, Fleet::Wake replaced);
  ~NodeSession();
  NodeSession(const NodeSession&) = delete;

  // An error ends the stream with it.
  absl::Status receive(v1::AgentMessage message);
  // The push that is due now, if any.
  std::optional<v1::Push> next_push();
  // Why the stream should end: the push is unanswered for a whole ttl, or the policy was withdrawn. OK otherwise.
  absl::Status overdue() const;
  // The stream ended.
  void close(const std::string& reason);

 private:
  absl::Status join(const v1::Hello& hello);
  absl::Status acknowledge(const v1::Ack& ack);
  void count(v1::Counters counters);
  // Adds to the push what differs between what is wanted and what is acknowledged.
  void add_changes(const Effective& wanted, v1::Push& push) const;
  bool held(const Effective& wanted) const;
  decision::Duration ttl(const Effective& content) const;
  void log(std::string action, std::string reason, std::string message);
  void log(v1::Decision decision);

  Context context_;
  Caller caller_;
  Fleet::Wake wake_, replaced_;

  std::optional<NodeId> id_;
  std::uint64_t session_ = 0;

  // In force on the node, as acknowledged on this stream; unset: the next push is a full one.
  std::optional<Effective> acked_;
  struct Outstanding {
    std::string nonce;
    Effective content;
    decision::Instant sent;
    bool renewal;
    decision::Duration ttl;
  };
  std::optional<Outstanding> outstanding_;
  // Nonces, oldest first.
  std::deque<std::string> answered_;
  std::uint64_t nonces_ = 0;
  decision::Instant last_push_{};
  decision::Duration last_ttl_{};

  struct Refused {
    std::string etag;  // of the policy in it; empty: it carried none
    std::string message;
    decision::Instant until;
  };
  std::optional<Refused> refused_;
  bool withdrawn_ = false;
};

}  // namespace penstock::controller
