#include <sys/msg.h>
#include <sys/sem.h>
#include <time.h>

#include <algorithm>
#include <cerrno>

#include "penstock/error.h"
#include "runtime/interpose/guard.h"
#include "runtime/interpose/interposed.h"
#include "runtime/interpose/readiness.h"
#include "runtime/interpose/real.h"
#include "runtime/interpose/threads/parking.h"

PENSTOCK_REAL(semtimedop)
PENSTOCK_REAL(msgrcv)
PENSTOCK_REAL(msgsnd)

// Semaphores and message queues of System V, shared with other processes: nothing tells of them, so they are tried.
namespace penstock::interpose {
namespace {

// `call` never waits, and says `would_wait` instead.
template <class Call>
auto try_until(Instant until, int would_wait, Call&& call) noexcept {
  bool waited = false;
  for (Backoff backoff;; waited = true) {
    const auto result = call();
    if (result < 0 && waited && errno == EINVAL) errno = EIDRM;
    if (result >= 0 || errno != would_wait || !backoff.wait(until)) return result;
    if (fiber::Scheduler* scheduler = may_wait()) {
      const auto& fiber = scheduler->running().state;
      errno = fiber.cancelled ? EINTR : ETIMEDOUT;
      if (fiber.cancelled || fiber.deadline <= scheduler->recent()) return result;
    }
  }
}

}  // namespace
}  // namespace penstock::interpose

using namespace penstock::interpose;

PENSTOCK_INTERPOSED int semtimedop(int set, sembuf* operations, size_t count, const timespec* timeout) noexcept {
  const auto may_not_wait = [](const sembuf& one) { return (one.sem_flg & IPC_NOWAIT) != 0; };
  // Some that may wait and some that may not: which one could not be done is not told.
  if (cooperative() == nullptr || !valid_timeout(timeout) ||
      std::any_of(operations, operations + count, may_not_wait)) {
    return real::semtimedop(set, operations, count, timeout);
  }
  const penstock::Instant until = from_now(timeout);
  constexpr timespec kNow{};
  return try_until(until, EAGAIN, [&] { return real::semtimedop(set, operations, count, &kNow); });
}

PENSTOCK_INTERPOSED int semop(int set, sembuf* operations, size_t count) noexcept {
  return ::semtimedop(set, operations, count, nullptr);
}

PENSTOCK_INTERPOSED ssize_t msgrcv(int queue, void* to, size_t size, long type, int flags) {
  if ((flags & IPC_NOWAIT) != 0 || cooperative() == nullptr) return real::msgrcv(queue, to, size, type, flags);
  return try_until(penstock::Instant::max(), ENOMSG,
                   [&] { return real::msgrcv(queue, to, size, type, flags | IPC_NOWAIT); });
}

PENSTOCK_INTERPOSED int msgsnd(int queue, const void* from, size_t size, int flags) {
  if ((flags & IPC_NOWAIT) != 0 || cooperative() == nullptr) return real::msgsnd(queue, from, size, flags);
  return try_until(penstock::Instant::max(), EAGAIN,
                   [&] { return real::msgsnd(queue, from, size, flags | IPC_NOWAIT); });
}
