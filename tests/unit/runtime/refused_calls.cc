#include "tests/unit/runtime/refused_calls.h"

#include <dlfcn.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

namespace penstock::refused_calls {

std::atomic<int> accept{0};
std::atomic<int> guards{0};
std::atomic<int> stacks{0};

namespace {

// The C library's, or a sanitizer's.
template <class Function>
Function* real(const char* name) {
  return reinterpret_cast<Function*>(::dlsym(RTLD_NEXT, name));
}

bool refused(const std::atomic<int>& call) {
  const int error = call.load(std::memory_order_relaxed);
  if (error != 0) errno = error;
  return error != 0;
}

}  // namespace
}  // namespace penstock::refused_calls

using namespace penstock;

extern "C" {

// A sanitizer's, if there is one: it has to know of memory that is used anew.
[[gnu::weak]] void* __interceptor_mmap(void* at, size_t size, int protection, int flags, int fd, off_t offset);

int accept4(int fd, sockaddr* address, socklen_t* length, int flags) {
  if (refused_calls::refused(refused_calls::accept)) return -1;
  static auto* const next = refused_calls::real<decltype(accept4)>("accept4");
  return next(fd, address, length, flags);
}

int madvise(void* begin, size_t size, int advice) noexcept {
  if (advice == MADV_GUARD_INSTALL && refused_calls::refused(refused_calls::guards)) return -1;
  static auto* const next = refused_calls::real<decltype(madvise)>("madvise");
  return next(begin, size, advice);
}

int mprotect(void* begin, size_t size, int protection) noexcept {
  if (protection == PROT_NONE && refused_calls::refused(refused_calls::guards)) return -1;
  return static_cast<int>(::syscall(SYS_mprotect, begin, size, protection));
}

void* mmap(void* at, size_t size, int protection, int flags, int fd, off_t offset) noexcept {
  if ((flags & MAP_STACK) != 0 && (flags & MAP_NORESERVE) != 0 && refused_calls::refused(refused_calls::stacks)) {
    return MAP_FAILED;
  }
  if (__interceptor_mmap != nullptr) return __interceptor_mmap(at, size, protection, flags, fd, offset);
  return reinterpret_cast<void*>(::syscall(SYS_mmap, at, size, protection, flags, fd, offset));
}

}  // extern "C"
