#pragma once

#include <cstdint>

namespace penstock::decision {

// Calls of operator new in this program so far.
std::int64_t allocation_count();

// While one lives, operator new of its thread throws std::bad_alloc.
class NoMemory {
 public:
  NoMemory();
  ~NoMemory();
  NoMemory(const NoMemory&) = delete;
};

}  // namespace penstock::decision
