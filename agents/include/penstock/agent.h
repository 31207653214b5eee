#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "penstock/runtime.h"

// Joins a runtime to a controller, and loads its local policy.
namespace penstock {

// Where files are named, they are PEM and read once, at the construction.
struct AgentTls {
  // Whom to trust; empty: no TLS.
  std::string ca_file;
  // Who we are, for mutual TLS; both or none.
  std::string certificate_file;
  std::string key_file;
  // Name expected in the controller's certificate; empty: the host of `controller`.
  std::string server_name;
};

struct AgentOptions {
  // host:port of the controller's gRPC; empty: there is none, and the local policy governs for good.
  std::string controller;
  // Unique among the nodes of the service; required with a controller. The service is RuntimeOptions::service.
  std::string node;
  std::map<std::string, std::string> labels;
  // host:port under which Prometheus finds /metrics; empty: this node is not listed by the controller's /sd.
  std::string metrics_address;
  // YAML. In force from the construction until the controller's policy arrives; empty: the defaults.
  std::string policy_file;
  AgentTls tls;
  std::chrono::milliseconds counters_period{500};
  // Jittered exponential back-off between attempts to connect.
  std::chrono::milliseconds backoff_min{200};
  std::chrono::milliseconds backoff_max{5'000};
  // Longest wait for the controller's first push on a new stream.
  std::chrono::milliseconds connect_timeout{5'000};
  // Of the jitter; 0: taken from the system.
  std::uint64_t seed = 0;
};

// What the agent acts on.
struct AgentStatus {
  // A push arrived on the stream that is open now.
  bool connected = false;
  std::uint64_t epoch = 0;
  std::uint64_t version = 0;
  // Of the controller's policy; 0 while the local one governs.
  std::int64_t policy_revision = 0;
  // What is left of the lease; zero without one.
  Duration lease{};
  std::uint64_t pushes = 0;
  std::uint64_t refused = 0;
  // Reason of the last refusal, as in the error table.
  std::string refusal;
  // Why the last stream ended.
  std::string disconnect;
};

// One per process, made after the runtime and destroyed before it. Works on a thread of its own, so that RPC never
// holds up a scheduler thread; it never needs the runtime to be running.
//
// While the stream is lost, what was pushed stays in force until its lease ends. Then directives go back to the
// fallback rules of the last policy, and that policy stays.
class Agent {
 public:
  // Applies the local policy. Throws std::invalid_argument with "file:line:column: field: what is wrong", one per line,
  // for an unusable policy file or option.
  Agent(Runtime& runtime, AgentOptions options);
  // Stops.
  ~Agent();
  Agent(const Agent&) = delete;
  Agent& operator=(const Agent&) = delete;

  // Connects, and keeps trying, in the background.
  void start();
  // Closes the stream; directives stay in force until the lease would have ended, which nobody watches any more.
  void stop();

  // Thread-safe.
  AgentStatus status() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace penstock
