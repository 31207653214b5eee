#include <errno.h>
#include <stdarg.h>
#include <sys/file.h>

#include <algorithm>
#include <chrono>
#include <cstdint>

#include "runtime/interpose/blocking_call.h"
#include "runtime/interpose/interposed.h"
#include "runtime/interpose/libc.h"

// What makes, shares and closes descriptors, and their flags: close, dup, fcntl, ioctl.

PENSTOCK_REAL(close_range)
PENSTOCK_REAL(closefrom)
PENSTOCK_REAL(flock)

namespace penstock::interpose {
namespace {

constexpr auto kFirstPause = std::chrono::microseconds(200);
constexpr auto kLongestPause = std::chrono::milliseconds(20);

// Tries what takes a lock on a file, of which nothing tells when it is free.
template <class Try>
int lock_file(fiber::Scheduler&, Try&& attempt) noexcept {
  for (auto pause = std::chrono::nanoseconds(kFirstPause);;
       pause = std::min<std::chrono::nanoseconds>(2 * pause, kLongestPause)) {
    const int result = attempt();
    if (result == 0 || (errno != EAGAIN && errno != EACCES)) return result;
    const Ended ended = wait_until(fiber::time_in(pause), "a lock on a file");
    if (ended != Ended::timeout) {
      errno = to_errno(ended, EINTR);
      return -1;
    }
  }
}

OwnedFlag* owned_flag(int fd) noexcept {
  Descriptor* descriptor = find_descriptor(fd);
  return descriptor != nullptr ? descriptor->owned : nullptr;
}

int change_flags(int fd, void* argument) noexcept {
  OwnedFlag* owned = owned_flag(fd);
  if (owned == nullptr) return real::fcntl(fd, F_SETFL, argument);
  const auto flags = reinterpret_cast<std::intptr_t>(argument);
  const int result = real::fcntl(fd, F_SETFL, reinterpret_cast<void*>(flags | O_NONBLOCK));
  if (result == 0) owned->nonblocking = (flags & O_NONBLOCK) != 0;
  return result;
}

int control(int fd, int command, void* argument) noexcept {
  switch (command) {
    case F_GETFL: {
      const int flags = real::fcntl(fd, command, argument);
      const OwnedFlag* owned = flags >= 0 ? owned_flag(fd) : nullptr;
      return owned == nullptr || owned->nonblocking ? flags : flags & ~O_NONBLOCK;
    }
    case F_SETFL:
      return change_flags(fd, argument);
    case F_DUPFD:
    case F_DUPFD_CLOEXEC: {
      const int copy = real::fcntl(fd, command, argument);
      if (copy >= 0) duplicated(fd, copy);
      return copy;
    }
    case F_SETLKW:
    case F_OFD_SETLKW: {
      fiber::Scheduler* scheduler = cooperative();
      if (scheduler == nullptr) return real::fcntl(fd, command, argument);
      const int once = command == F_SETLKW ? F_SETLK : F_OFD_SETLK;
      return lock_file(*scheduler, [&] { return real::fcntl(fd, once, argument); });
    }
    default:
      return real::fcntl(fd, command, argument);
  }
}

}  // namespace
}  // namespace penstock::interpose

using namespace penstock;
using namespace penstock::interpose;

PENSTOCK_INTERPOSED int close(int fd) {
  forget(fd);
  return real::close(fd);
}

PENSTOCK_INTERPOSED int close_range(unsigned first, unsigned last, int flags) noexcept {
  if ((flags & ~CLOSE_RANGE_UNSHARE) == 0) {
    for_each_known(first, last, [](int fd) { forget(fd); });
  }
  return real::close_range(first, last, flags);
}

PENSTOCK_INTERPOSED void closefrom(int first) noexcept {
  for_each_known(static_cast<unsigned>(std::max(first, 0)), ~0u, [](int fd) { forget(fd); });
  real::closefrom(first);
}

PENSTOCK_INTERPOSED int dup(int fd) noexcept {
  const int copy = real::dup(fd);
  if (copy >= 0) duplicated(fd, copy);
  return copy;
}

PENSTOCK_INTERPOSED int dup2(int fd, int copy) noexcept {
  if (fd != copy && real::fcntl(fd, F_GETFD, nullptr) >= 0) forget(copy);
  const int result = real::dup2(fd, copy);
  if (result >= 0 && fd != copy) duplicated(fd, copy);
  return result;
}

PENSTOCK_INTERPOSED int dup3(int fd, int copy, int flags) noexcept {
  if (fd != copy && real::fcntl(fd, F_GETFD, nullptr) >= 0) forget(copy);
  const int result = real::dup3(fd, copy, flags);
  if (result >= 0) duplicated(fd, copy);
  return result;
}

PENSTOCK_INTERPOSED int fcntl(int fd, int command, ...) {
  va_list arguments;
  va_start(arguments, command);
  void* argument = va_arg(arguments, void*);
  va_end(arguments);
  return control(fd, command, argument);
}

PENSTOCK_INTERPOSED int fcntl64(int fd, int command, ...) {
  va_list arguments;
  va_start(arguments, command);
  void* argument = va_arg(arguments, void*);
  va_end(arguments);
  return control(fd, command, argument);
}

PENSTOCK_INTERPOSED int ioctl(int fd, unsigned long request, ...) noexcept {
  va_list arguments;
  va_start(arguments, request);
  void* argument = va_arg(arguments, void*);
  va_end(arguments);
  OwnedFlag* owned = request == FIONBIO ? owned_flag(fd) : nullptr;
  if (owned == nullptr) return real::ioctl(fd, request, argument);
  owned->nonblocking = *static_cast<const int*>(argument) != 0;
  return 0;
}

PENSTOCK_INTERPOSED int flock(int fd, int operation) noexcept {
  fiber::Scheduler* scheduler = (operation & (LOCK_NB | LOCK_UN)) == 0 ? cooperative() : nullptr;
  if (scheduler == nullptr) return real::flock(fd, operation);
  return lock_file(*scheduler, [&] { return real::flock(fd, operation | LOCK_NB); });
}

// The C library's calls fcntl() inside itself.
PENSTOCK_INTERPOSED int lockf64(int fd, int command, off64_t size) {
  struct flock area {};
  area.l_type = command == F_ULOCK ? F_UNLCK : F_WRLCK;
  area.l_whence = SEEK_CUR;
  area.l_len = size;
  switch (command) {
    case F_ULOCK:
    case F_TLOCK:
      return control(fd, F_SETLK, &area);
    case F_LOCK:
      return control(fd, F_SETLKW, &area);
    case F_TEST:
      if (control(fd, F_GETLK, &area) < 0) return -1;
      if (area.l_type == F_UNLCK || area.l_pid == ::getpid()) return 0;
      errno = EACCES;
      return -1;
    default:
      errno = EINVAL;
      return -1;
  }
}
PENSTOCK_INTERPOSED int lockf(int fd, int command, off_t size) { return lockf64(fd, command, size); }
