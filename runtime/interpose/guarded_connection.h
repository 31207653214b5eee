#pragma once

#include <sys/socket.h>

#include <cstdint>
#include <optional>
#include <span>

#include "penstock/error.h"
#include "penstock/spin_lock.h"
#include "penstock/upstream.h"
#include "runtime/interpose/descriptor.h"

namespace penstock::interpose {

struct FdWait;

// A connection of the program's own to an upstream of the policy. What goes through it are calls of the upstream: one
// begins when it connects, and with the first write after a read; it ends with the first read. So each exchange is
// limited, cut off by the breaker, measured, and ended at its deadline. Thread-safe.
class GuardedConnection {
 public:
  explicit GuardedConnection(Upstream& upstream) noexcept;
  // A call that is under way was given up.
  ~GuardedConnection();

  // Unless a call is under way; may wait for a place. False, with errno: it is refused, by breaker and limits with
  // the policy's refusal_error, with ETIMEDOUT when it cannot be done in time.
  bool begin() noexcept;
  // The call under way, if there is one.
  void finish(CallOutcome outcome) noexcept;
  // Instant::max(): none is under way.
  Instant deadline() noexcept;

 private:
  bool runtime_is_gone() const noexcept;

  Upstream& upstream_;
  // What the upstream belongs to: gone when another number of runtimes have ended.
  const std::uint64_t runtimes_ended_;
  SpinLock lock_;
  // Guarded by lock_.
  std::optional<Upstream::Call> call_;
  bool beginning_ = false;
};

// What calls on descriptors do for it. All keep errno unless they say otherwise.
//
// False, with errno: the connection is refused.
bool before_connect(int fd, Descriptor& descriptor, const sockaddr* to, socklen_t size) noexcept;
// With what connect() returned, and its errno.
void after_connect(Descriptor& descriptor, int result) noexcept;
// False, with errno: the call is refused. By breaker and limits, the connection is shut down with it: a library that
// reads on after a write that failed, as libpq does, is told at once.
bool before_write(int fd, Descriptor& descriptor) noexcept;
// With what was returned, and errno.
void after_read(Descriptor& descriptor, ssize_t result) noexcept;

// Whether the connection was shut down, with its call's time or by a refusal; then with errno.
bool was_shut_down(Descriptor& descriptor) noexcept;

// When the call is over that goes through the descriptor; Instant::max(): there is none.
Instant call_deadline(Descriptor& descriptor) noexcept;
void call_timed_out(Descriptor& descriptor) noexcept;
// The earliest, also of those in epoll sets that are waited for.
Instant call_deadline(std::span<const FdWait> waits) noexcept;
// Ends those whose time is up. Whether the wait is to fail: not when epoll sets tell of them.
bool calls_timed_out(std::span<const FdWait> waits) noexcept;

}  // namespace penstock::interpose
