#pragma once

#include <cstdint>
#include <string>

namespace penstock::simulate {

// The text of a scenario that nobody has thought of, named "random-SEED": drawn from ranges that its source states, the
// same for the same seed.
std::string random_scenario(std::uint64_t seed);

}  // namespace penstock::simulate
