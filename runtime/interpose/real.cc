#include "runtime/interpose/real.h"

#include <dlfcn.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

// Where the section begins and ends.
extern "C" const penstock::interpose::RealName* const __start_penstock_real[] __attribute__((visibility("hidden")));
extern "C" const penstock::interpose::RealName* const __stop_penstock_real[] __attribute__((visibility("hidden")));

namespace penstock::interpose {
namespace {

// The definition of that name that comes after ours.
void* next_of(const char* name) noexcept { return ::dlsym(RTLD_NEXT, name); }

[[gnu::constructor]] void find_all_early() noexcept {
  for (const RealName* const* one = __start_penstock_real; one != __stop_penstock_real; ++one) (*one)->find_early();
}

}  // namespace

void RealName::find_early() const noexcept { address_.store(next_of(name_), std::memory_order_relaxed); }

void* RealName::find() const noexcept {
  void* found = next_of(name_);
  if (found != nullptr) {
    address_.store(found, std::memory_order_relaxed);
    return found;
  }
  constexpr char kComplaint[] = "penstock: the C library has no function ";
  static_cast<void>(!::write(STDERR_FILENO, kComplaint, sizeof kComplaint - 1));
  static_cast<void>(!::write(STDERR_FILENO, name_, std::strlen(name_)));
  static_cast<void>(!::write(STDERR_FILENO, "\n", 1));
  std::abort();
}

}  // namespace penstock::interpose
