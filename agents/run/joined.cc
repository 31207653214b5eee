#include <unistd.h>

#include "agents/run/membership.h"
#include "penstock/agent.h"

namespace penstock::run {
namespace {

class Joined final : public Membership {
 public:
  Joined(Runtime& runtime, AgentOptions options) : agent_(runtime, std::move(options)) { agent_.start(); }

 private:
  Agent agent_;
};

std::string host_name() {
  char name[256] = "node";
  ::gethostname(name, sizeof name - 1);
  return name;
}

}  // namespace

std::unique_ptr<Membership> Membership::begin(Runtime& runtime, const Settings& settings,
                                              const std::string& metrics_address) {
  // Each process of the program is a node of its own.
  const std::string node = settings.node.empty() ? host_name() : settings.node;
  return std::make_unique<Joined>(runtime, AgentOptions{.controller = settings.controller,
                                                        .node = node + "-" + std::to_string(::getpid()),
                                                        .metrics_address = metrics_address,
                                                        .policy_file = settings.policy_file});
}

}  // namespace penstock::run
