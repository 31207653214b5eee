#pragma once

#include <cstdint>

namespace penstock::telemetry {

// Hands what the allocator keeps of freed memory back to the kernel, where that is at least `worth_it` bytes; false: it
// is less. Takes some 10 ms for each 100 MB.
bool give_back_free_memory(std::int64_t worth_it);

}  // namespace penstock::telemetry
