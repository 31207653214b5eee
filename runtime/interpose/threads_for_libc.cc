#include "runtime/interpose/threads_for_libc.h"

#include <cerrno>
#include <exception>

#include "runtime/fiber/offload.h"

namespace penstock::interpose {
namespace {

constexpr unsigned kMost = 32;

}  // namespace

bool on_thread(const std::function<void()>& fn) noexcept {
  try {
    // Never destroyed: fibers may wait until the process ends.
    static auto* const threads = new fiber::OffloadThreads(1, kMost);
    int error = 0;
    threads->run([&] {
      fn();
      error = errno;
    });
    errno = error;
    return true;
  } catch (const std::exception&) {
    errno = ENOMEM;
    return false;
  }
}

}  // namespace penstock::interpose
