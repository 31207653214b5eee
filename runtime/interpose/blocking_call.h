#pragma once

#include <cerrno>
#include <cstdint>

#include "penstock/error.h"
#include "runtime/interpose/descriptor.h"
#include "runtime/interpose/fd_watch.h"
#include "runtime/interpose/guard.h"

namespace penstock::interpose {

// One call of the program's on a descriptor, as a fiber, that goes on until it is done. The system is asked first, and
// without a wait; when it has nothing to give, wait() decides.
//
//   BlockingCall call(*scheduler, fd, BlockingCall::kReceive);
//   do {
//     n = real::recv(fd, to, size, flags | MSG_DONTWAIT);
//   } while (n < 0 && call.wait());
class BlockingCall {
 public:
  struct Direction {
    std::uint32_t events;
    const char* what;
    // The socket option that bounds such a call.
    int timeout_option;
    bool exclusive = false;
  };
  static const Direction kReceive, kSend, kAccept, kConnect;

  BlockingCall(fiber::Scheduler& scheduler, int fd, const Direction& direction) noexcept;
  ~BlockingCall();
  BlockingCall(const BlockingCall&) = delete;
  BlockingCall& operator=(const BlockingCall&) = delete;

  // After a call that gave -1. True: try again, the descriptor may be ready. False: errno says why not; it is the
  // call's own unless that was EAGAIN and a wait came to nothing.
  bool wait() noexcept;
  // The same with EAGAIN, after a call that gave less than it was to. The program did not ask for calls without waits.
  bool wait_for_rest() noexcept;

 private:
  bool begin() noexcept;
  bool suspend() noexcept;

  const int fd_;
  const Direction& direction_;
  Descriptor* const descriptor_;
  const std::uint32_t generation_;
  bool begun_ = false;
  bool woken_ = false;
  Instant until_ = Instant::max();
};

// What is done without errors leaves errno as it was.
template <class Result, class Do>
Result with_errno_of(Do&& act) noexcept {
  const int before = errno;
  const Result result = act();
  if (result >= 0) errno = before;
  return result;
}

// For calls that are always done at once: lets others run now and then. False, with errno: the request's deadline has
// passed, or it was cancelled.
bool breathe(fiber::Scheduler& scheduler) noexcept;

// The time that a socket's option bounds a call to; Instant::max(): it does not. Keeps errno.
Instant bounded_by(int fd, int timeout_option) noexcept;

}  // namespace penstock::interpose
