#include <string>

#include "policy/yaml.h"
#include "tests/fuzz/fuzz.h"

FUZZ(text) {
  const auto parsed = penstock::policy::parse_file(text);
  for (const auto& problem : parsed.problems) must(!penstock::policy::to_string(problem, "policy.yaml").empty());
}
