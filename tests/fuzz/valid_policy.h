#pragma once

#include <google/protobuf/util/message_differencer.h>

#include <string>

#include "penstock/v1/policy.pb.h"
#include "policy/convert.h"
#include "policy/print.h"
#include "policy/yaml.h"
#include "runtime/policy_rules.h"
#include "tests/fuzz/fuzz.h"

// What holds of every policy that validate() finds nothing wrong with.
inline void must_be_of_use(const penstock::v1::Policy& policy) {
  namespace policies = penstock::policy;
  const auto converted = policies::to_decision(policy);
  must(converted.ok());
  // Throws what no runtime can act on.
  penstock::check_policy(*converted);

  const policies::ParsedFile again = policies::parse_file(policies::to_yaml(policy));
  must(again.problems.empty() && again.documents.size() == 1);
  must(google::protobuf::util::MessageDifferencer::Equals(again.documents.front().policy(), policy));
}
