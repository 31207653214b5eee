#pragma once

#include <cstdint>

namespace penstock::decision {

// Calls of operator new in this program so far.
std::int64_t allocation_count();

}  // namespace penstock::decision
