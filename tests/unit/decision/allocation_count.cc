#include "tests/unit/decision/allocation_count.h"

#include <atomic>
#include <cstdlib>
#include <new>

namespace {
std::atomic<std::int64_t> allocations{0};
constinit thread_local int refused = 0;
}  // namespace

void* operator new(std::size_t size) {
  ++allocations;
  if (refused != 0) throw std::bad_alloc();
  if (void* p = std::malloc(size)) return p;
  throw std::bad_alloc();
}
void operator delete(void* p) noexcept { std::free(p); }
void operator delete(void* p, std::size_t) noexcept { std::free(p); }

namespace penstock::decision {
std::int64_t allocation_count() { return allocations; }
NoMemory::NoMemory() { ++refused; }
NoMemory::~NoMemory() { --refused; }
}  // namespace penstock::decision
