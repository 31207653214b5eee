#include "runtime/telemetry/free_memory.h"

#include <malloc.h>

namespace penstock::telemetry {

bool give_back_free_memory(std::int64_t worth_it) {
  // By itself the allocator only gives back what lies at the end of its heap: one block that lives on keeps all before
  // it.
  if (static_cast<std::int64_t>(::mallinfo2().fordblks) < worth_it) return false;
  ::malloc_trim(0);
  return true;
}

}  // namespace penstock::telemetry
