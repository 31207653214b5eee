#pragma once

#include <atomic>
#include <cstdint>
#include <span>

#include "penstock/error.h"
#include "runtime/fiber/reactor.h"
#include "runtime/fiber/waiter.h"
#include "runtime/interpose/descriptor.h"

namespace penstock::fiber {
class Scheduler;
}

namespace penstock::interpose {

// One descriptor that a wait is for; on the waiting fiber's stack. The members belong to the descriptor's lock.
struct FdWait {
  int fd = -1;
  // EPOLL* bits, which are those of poll().
  std::uint32_t events = 0;
  // Of those that wait exclusively, as for a connection to accept, an event wakes the first; it calls pass_on().
  bool exclusive = false;

  fiber::Waiter* waiter = nullptr;
  // Null: it is not in a list.
  FdWatch* watch = nullptr;
  Descriptor* descriptor = nullptr;
  FdWait* previous = nullptr;
  FdWait* next = nullptr;
  bool closed = false;
};

// How a wait ended. Nothing is thrown: the caller is about to return to C.
enum class Ended {
  // Perhaps: try again.
  ready,
  timeout,
  closed,
  // The request's deadline, or its cancellation.
  deadline,
  cancelled,
  // A handler of a signal has run: the call fails with EINTR, or, when the handler was installed so (SA_RESTART), goes
  // on
  // if it is one of those that do.
  interrupted,
  restarted,
};

// What a wait that was cancelled is to its caller. Set by whoever runs the threads of a program as fibers, which are
// interrupted that way. Null: cancelled.
extern constinit std::atomic<Ended (*)() noexcept> after_cancelled_wait;

// Suspends the calling fiber until one of them may be ready, or at the latest until then. Keeps nothing of the waits.
Ended wait_for(std::span<FdWait> waits, Instant until, fiber::WaitingFor what) noexcept;
// For nothing but time.
Ended wait_until(Instant until, const char* what) noexcept;
// Who was woken as the first of those that wait exclusively has done what it could: the next one may try.
void pass_on(int fd) noexcept;

// errno for a wait that did not end as ready: ETIMEDOUT for the request's deadline, ECANCELED, EBADF; `timeout` for one
// that the program itself asked for.
int to_errno(Ended ended, int timeout) noexcept;

// Those of one scheduler thread that wait for one number. Kept until the thread ends, whatever becomes of the number.
// Registered for one event at a time, when somebody waits.
class FdWatch final : public fiber::Watch {
 public:
  FdWatch(int fd, Descriptor& descriptor, fiber::Scheduler& scheduler);
  ~FdWatch() override;

  // Of the calling thread. Null without memory.
  static FdWatch* of_thread(int fd) noexcept;
  // All of the descriptor's, whose lock is held: ends their waits.
  static void close_all(Descriptor& descriptor) noexcept;

  // With the lock held, on the watch's thread. False: it cannot be watched.
  bool add(FdWait& wait) noexcept;
  void remove(FdWait& wait) noexcept;
  bool arm() noexcept;

  Descriptor& descriptor() const noexcept { return descriptor_; }
  bool idle() const noexcept { return first_ == nullptr; }
  bool armed() const noexcept { return armed_ != 0; }

 private:
  void on_events(std::uint32_t events) noexcept override;
  void close() noexcept;

  Descriptor& descriptor_;
  fiber::Reactor& reactor_;
  const int epoll_fd_;
  // Guarded by the descriptor's lock.
  FdWatch* next_ = nullptr;
  FdWait* first_ = nullptr;
  FdWait* last_ = nullptr;
  // What the next event is asked for; 0: none is.
  std::uint32_t armed_ = 0;
  bool registered_ = false;
};

}  // namespace penstock::interpose
