#include "controller/simulate/strategies/limited.h"
#include "controller/simulate/strategies/penstock_fleet.h"
#include "controller/simulate/strategy.h"

namespace penstock::simulate {
namespace {

// 320 threads a node, first come, first served, time-outs of 30 s a read, and nobody is told when the client leaves.
Form threads_640() {
  Form form;
  form.threads = 320;
  form.deadlines = form.cancels = false;
  return form;
}

Contender limited(std::string name, std::string about, Form form) {
  return {std::move(name), std::move(about),
          [form = std::move(form)](const Scenario&, std::uint64_t seed) { return make_limited(form, seed); }};
}

}  // namespace

const std::vector<Contender>& contenders() {
  static const std::vector<Contender> all{
      {"penstock", "ours: the decision code of nodes and controller",
       [](const Scenario& scenario, std::uint64_t) { return std::make_unique<PenstockFleet>(scenario); }},
      limited("threads-640", "320 threads a node, first come, first served; no deadline, no cancellation",
              threads_640()),
      limited("unlimited", "fibers with deadlines and cancellation, and no limit", {}),
  };
  return all;
}

}  // namespace penstock::simulate
