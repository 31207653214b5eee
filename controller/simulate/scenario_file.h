#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "controller/simulate/scenario.h"
#include "policy/yaml.h"

// Scenarios as files.
namespace penstock::simulate {

struct ParsedScenario {
  // Unset when there are problems.
  std::optional<Scenario> scenario;
  std::vector<policy::Problem> problems;
};

// One scenario. Never throws on any text.
ParsedScenario parse_scenario(std::string_view text);

// Puts an operator's policy in the place of the scenario's. Its upstreams and routes govern what they name alike.
void adopt(Scenario& scenario, const decision::Policy& policy);

struct EmbeddedScenario {
  std::string_view name;
  std::string_view text;
};
// Those that the program brings along, by name.
const std::vector<EmbeddedScenario>& embedded_scenarios();

}  // namespace penstock::simulate
