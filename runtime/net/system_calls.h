#pragma once

#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include <cerrno>
#include <cstddef>

// The system calls of every request, on non-blocking sockets. They return what the kernel does: a count, or the
// negative error. glibc's are points where a thread may be cancelled, for which a process of several threads pays with
// two locked instructions each; and they may be interposed.
namespace penstock::net {

// The sanitizers have to see what a call writes, and what it orders.
#if defined(__x86_64__) && !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__) && !defined(__clang__)

inline long system_call(long number, long a, long b, long c, long d = 0) noexcept {
  register long fourth asm("r10") = d;
  register long fifth asm("r8") = 0;
  register long sixth asm("r9") = 0;
  long result;
  asm volatile("syscall"
               : "=a"(result)
               : "a"(number), "D"(a), "S"(b), "d"(c), "r"(fourth), "r"(fifth), "r"(sixth)
               : "rcx", "r11", "memory");
  return result;
}

inline long receive(int fd, void* to, std::size_t size, int flags) noexcept {
  return system_call(SYS_recvfrom, fd, reinterpret_cast<long>(to), static_cast<long>(size), flags);
}
inline long send(int fd, const void* from, std::size_t size, int flags) noexcept {
  return system_call(SYS_sendto, fd, reinterpret_cast<long>(from), static_cast<long>(size), flags);
}
inline long receive_parts(int fd, const iovec* parts, int count) noexcept {
  return system_call(SYS_readv, fd, reinterpret_cast<long>(parts), count);
}
inline long send_parts(int fd, const msghdr& parts, int flags) noexcept {
  return system_call(SYS_sendmsg, fd, reinterpret_cast<long>(&parts), flags);
}

#else

inline long receive(int fd, void* to, std::size_t size, int flags) noexcept {
  const long n = ::recv(fd, to, size, flags);
  return n < 0 ? -errno : n;
}
inline long send(int fd, const void* from, std::size_t size, int flags) noexcept {
  const long n = ::send(fd, from, size, flags);
  return n < 0 ? -errno : n;
}
inline long receive_parts(int fd, const iovec* parts, int count) noexcept {
  const long n = ::readv(fd, parts, count);
  return n < 0 ? -errno : n;
}
inline long send_parts(int fd, const msghdr& parts, int flags) noexcept {
  const long n = ::sendmsg(fd, &parts, flags);
  return n < 0 ? -errno : n;
}

#endif

}  // namespace penstock::net
