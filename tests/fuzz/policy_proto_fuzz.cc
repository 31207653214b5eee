#include "policy/convert.h"
#include "policy/validate.h"
#include "tests/fuzz/fuzz.h"
#include "tests/fuzz/valid_policy.h"

// As an agent takes it from a controller, and a controller from a client.
FUZZ(text) {
  penstock::v1::Policy policy;
  if (!policy.ParseFromArray(text.data(), static_cast<int>(text.size()))) return;
  const bool valid = penstock::policy::validate(policy).empty();
  must(penstock::policy::to_decision(policy).ok() == valid);
  if (!valid) return;
  // What an operator writes is kept.
  penstock::v1::Policy written;
  *written.mutable_spec() = policy.spec();
  written.mutable_metadata()->set_name(policy.metadata().name());
  *written.mutable_metadata()->mutable_labels() = policy.metadata().labels();
  written.DiscardUnknownFields();
  must_be_of_use(written);
}
