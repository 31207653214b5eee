#pragma once

#include <memory>
#include <string>

#include "agents/run/settings.h"

namespace penstock {
class Runtime;
}

namespace penstock::run {

// Applies the policy file and joins the controller, as long as it lives. Two libraries have one each: the one that
// penstock-run preloads when it was given neither knows nothing of RPC, which would take tens of milliseconds of each
// start. Throws what is wrong with the settings.
class Membership {
 public:
  virtual ~Membership() = default;
  // Null: there is nothing to join.
  static std::unique_ptr<Membership> begin(Runtime& runtime, const Settings& settings,
                                           const std::string& metrics_address);
};

}  // namespace penstock::run
