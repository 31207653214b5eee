#include "controller/simulate/rivals/rivals.h"
#include "controller/simulate/strategies/penstock_fleet.h"
#include "controller/simulate/strategy.h"

namespace penstock::simulate {
namespace {

std::vector<Contender> make() {
  std::vector<Contender> all{
      {"penstock", "the decision code of nodes and controller",
       [](const Scenario& scenario, std::uint64_t) { return std::make_unique<PenstockFleet>(scenario); }}};
  for (const Rival& rival : rivals()) {
    all.push_back({std::string(rival.name), std::string(rival.composed),
                   [&rival](const Scenario&, std::uint64_t seed) { return compose(rival.composition, seed); }});
  }
  return all;
}

}  // namespace

const std::vector<Contender>& contenders() {
  static const std::vector<Contender> all = make();
  return all;
}

}  // namespace penstock::simulate
