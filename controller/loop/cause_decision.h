#pragma once

#include <string>
#include <vector>

#include "penstock/decision/fleet_test.h"
#include "penstock/v1/admin.pb.h"

namespace penstock::controller {

// A step of a test as the decision log has it, for one of the services that call the upstream.
v1::Decision to_decision(const decision::CauseTest::Decision& decision, const std::string& service,
                         const std::string& upstream, const std::vector<std::string>& services, int nodes, bool shadow);

// What the test holds, without who is led.
v1::CauseView to_view(const decision::FleetTest& test);

}  // namespace penstock::controller
