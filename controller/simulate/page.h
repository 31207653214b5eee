#pragma once

#include <deque>
#include <string>
#include <vector>

#include "controller/simulate/outcome.h"
#include "controller/simulate/scenario.h"

namespace penstock::simulate {

// One page that needs nothing but itself: for each scenario the users served over time, by policy, and the figures.
std::string to_html(const std::vector<Row>& rows, const std::deque<Scenario>& scenarios);

}  // namespace penstock::simulate
