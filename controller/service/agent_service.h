#pragma once

#include <chrono>
#include <cstdint>
#include <memory>

#include "controller/clock.h"
#include "penstock/decision/time.h"

namespace grpc {
class Service;
}

namespace penstock::controller {

class Authenticator;
class DecisionLog;
class Fleet;

// The agents' streams. All arguments outlive it.
class AgentChannel {
 public:
  AgentChannel(Fleet& fleet, DecisionLog& log, Clock& clock, const Authenticator& authenticator, std::uint64_t epoch,
               decision::Duration ttl);
  ~AgentChannel();
  AgentChannel(const AgentChannel&) = delete;

  // To be registered with a server that ends before this object does.
  grpc::Service& service();
  // Renews leases and ends streams that are overdue, each kTick until stop().
  void start();
  // Ends all streams (UNAVAILABLE: nodes try again) and takes no new ones.
  void stop();

  static constexpr std::chrono::milliseconds kTick{100};

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace penstock::controller
