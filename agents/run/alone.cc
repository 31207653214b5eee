#include "agents/run/membership.h"

namespace penstock::run {

std::unique_ptr<Membership> Membership::begin(Runtime&, const Settings&, const std::string&) { return nullptr; }

}  // namespace penstock::run
