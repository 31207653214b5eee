#include <string>

#include "controller/simulate/scenario_file.h"
#include "tests/fuzz/fuzz.h"

// Any text is a scenario that can be lived, or one whose problems can be told.
FUZZ(text) {
  const auto parsed = penstock::simulate::parse_scenario(text);
  must(parsed.scenario.has_value() == parsed.problems.empty());
  for (const auto& problem : parsed.problems) must(!penstock::policy::to_string(problem, "scenario.yaml").empty());
  if (!parsed.scenario) return;
  const penstock::simulate::Scenario& scenario = *parsed.scenario;
  must(scenario.duration > scenario.measure.from && scenario.measure.from < scenario.measure.to);
  must(!scenario.pages.empty() && scenario.nodes.count >= 1 && scenario.load.highest_rate() > 0);
  for (const auto& page : scenario.pages) {
    for (const auto upstream : page.calls) must(upstream < scenario.upstreams.size());
  }
}
