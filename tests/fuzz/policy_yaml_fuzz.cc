#include <string>

#include "policy/yaml.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/valid_policy.h"

FUZZ(text) {
  const auto parsed = penstock::policy::parse_file(text);
  for (const auto& problem : parsed.problems) must(!penstock::policy::to_string(problem, "policy.yaml").empty());
  if (!parsed.problems.empty()) return;
  for (const auto& document : parsed.documents) must_be_of_use(document.policy());
}
