#include <linux/futex.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <climits>
#include <cstdarg>
#include <cstdint>
#include <ctime>

#include "runtime/fiber/plain_calls.h"
#include "runtime/interpose/guard.h"
#include "runtime/interpose/interposed.h"
#include "runtime/interpose/real.h"
#include "runtime/interpose/threads/clock.h"
#include "runtime/interpose/threads/parking.h"
#include "runtime/interpose/threads/program_thread.h"

// The system call by which the C++ library waits for atomics and futures. Fibers park at the address; plain threads
// wait in the kernel as ever, and whoever wakes looks in both places.
namespace penstock::interpose {
namespace {

constinit Real<long(long, long, long, long, long, long, long)> real_syscall{"syscall"};
PENSTOCK_FOUND_EARLY(real_syscall)

long fail(int error) noexcept {
  errno = error;
  return -1;
}

long wait(int* address, int expected, unsigned bits, Instant until) {
  Cancellable cancellable;
  Parking parking(address, "an atomic value to change");
  parking.bits = bits;
  Parking::End end = Parking::End::interrupted;
  if (cancellable.begin(parking)) {
    bool joined = false;
    {
      ParkingLock lock(address);
      if (std::atomic_ref<int>(*address).load(std::memory_order_seq_cst) == expected) {
        parking.join(lock);
        joined = true;
      }
    }
    if (joined) end = parking.wait(until);
    cancellable.end();
    if (!joined) return fail(EAGAIN);
  }
  // The system call is none of the points where a thread is cancelled.
  if (end == Parking::End::interrupted) return fail(EINTR);
  return end == Parking::End::timed_out ? fail(ETIMEDOUT) : 0;
}

long futex(long address, long operation, long value, long timeout, long second, long third) {
  const long command = operation & FUTEX_CMD_MASK;
  auto* const word = reinterpret_cast<int*>(address);
  const auto* const time = reinterpret_cast<const timespec*>(timeout);
  if (command == FUTEX_WAIT || command == FUTEX_WAIT_BITSET) {
    if (may_wait() == nullptr) return real_syscall(SYS_futex, address, operation, value, timeout, second, third);
    Instant until = Instant::max();
    if (time != nullptr && command == FUTEX_WAIT) {
      until = std::chrono::steady_clock::now() + std::chrono::seconds(time->tv_sec) +
              std::chrono::nanoseconds(time->tv_nsec);
    } else if (time != nullptr) {
      const auto at = instant_of((operation & FUTEX_CLOCK_REALTIME) != 0 ? CLOCK_REALTIME : CLOCK_MONOTONIC, *time);
      if (!at) return fail(EINVAL);
      until = *at;
    }
    const unsigned bits = command == FUTEX_WAIT ? FUTEX_BITSET_MATCH_ANY : static_cast<unsigned>(third);
    if (bits == 0) return fail(EINVAL);
    return wait(word, static_cast<int>(value), bits, until);
  }
  if (command == FUTEX_WAKE || command == FUTEX_WAKE_BITSET) {
    long woken = 0;
    {
      ParkingLock lock(word);
      woken = static_cast<long>(lock.wake_up_to(value <= 0 ? 1 : static_cast<std::size_t>(value)));
    }
    if (woken >= value) return woken;
    const long plain = real_syscall(SYS_futex, address, operation, value - woken, timeout, second, third);
    return plain < 0 ? (woken > 0 ? woken : plain) : woken + plain;
  }
  return real_syscall(SYS_futex, address, operation, value, timeout, second, third);
}

}  // namespace
}  // namespace penstock::interpose

PENSTOCK_INTERPOSED long syscall(long number, ...) noexcept {
  std::va_list list;
  va_start(list, number);
  long arguments[6];
  for (long& argument : arguments) argument = va_arg(list, long);
  va_end(list);
  if (number == SYS_futex && !penstock::fiber::PlainCalls::active()) {
    return penstock::interpose::futex(arguments[0], arguments[1], arguments[2], arguments[3], arguments[4],
                                      arguments[5]);
  }
  // What our epoll_ctl() keeps the kernel does not know.
  if (number == SYS_epoll_ctl) {
    return ::epoll_ctl(static_cast<int>(arguments[0]), static_cast<int>(arguments[1]), static_cast<int>(arguments[2]),
                       reinterpret_cast<epoll_event*>(arguments[3]));
  }
  if (number == SYS_epoll_wait || number == SYS_epoll_pwait) {
    return ::epoll_pwait(static_cast<int>(arguments[0]), reinterpret_cast<epoll_event*>(arguments[1]),
                         static_cast<int>(arguments[2]), static_cast<int>(arguments[3]),
                         number == SYS_epoll_pwait ? reinterpret_cast<const sigset_t*>(arguments[4]) : nullptr);
  }
  return penstock::interpose::real_syscall(number, arguments[0], arguments[1], arguments[2], arguments[3], arguments[4],
                                           arguments[5]);
}
