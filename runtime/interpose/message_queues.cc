#include <mqueue.h>
#include <time.h>

#include <cerrno>

#include "penstock/error.h"
#include "runtime/interpose/fd_watch.h"
#include "runtime/interpose/guard.h"
#include "runtime/interpose/interposed.h"
#include "runtime/interpose/real.h"
#include "runtime/interpose/threads/clock.h"

PENSTOCK_REAL(mq_timedreceive)
PENSTOCK_REAL(mq_timedsend)

// Message queues of POSIX, which are descriptors that can be polled.
namespace penstock::interpose {
namespace {

// Long ago: a call with this time never waits, but says ETIMEDOUT where it would have to.
constexpr timespec kNow{};

// `call` is made with kNow until it need not wait.
template <class Call>
auto until_done(mqd_t queue, std::uint32_t events, const char* what, const timespec* at, Call&& call) noexcept {
  Instant until = Instant::max();
  for (bool first = true;; first = false) {
    const auto result = call();
    if (result >= 0 || errno != ETIMEDOUT) return result;
    if (first && at != nullptr) {
      const auto given = instant_of(CLOCK_REALTIME, *at);
      if (!given) {
        errno = EINVAL;
        return result;
      }
      until = *given;
    }
    FdWait wait{.fd = queue, .events = events};
    const Ended ended = wait_for({&wait, 1}, until, {.what = what, .fd = queue});
    if (ended == Ended::ready || ended == Ended::restarted) continue;
    errno = to_errno(ended, ETIMEDOUT);
    return result;
  }
}

ssize_t receive(mqd_t queue, char* to, size_t size, unsigned* priority, const timespec* at) {
  if (cooperative() == nullptr) return real::mq_timedreceive(queue, to, size, priority, at);
  return until_done(queue, EPOLLIN, "a message", at,
                    [&] { return real::mq_timedreceive(queue, to, size, priority, &kNow); });
}

int send(mqd_t queue, const char* from, size_t size, unsigned priority, const timespec* at) {
  if (cooperative() == nullptr) return real::mq_timedsend(queue, from, size, priority, at);
  return until_done(queue, EPOLLOUT, "room for a message", at,
                    [&] { return real::mq_timedsend(queue, from, size, priority, &kNow); });
}

}  // namespace
}  // namespace penstock::interpose

using namespace penstock;

PENSTOCK_INTERPOSED ssize_t mq_timedreceive(mqd_t queue, char* to, size_t size, unsigned* priority,
                                            const timespec* at) {
  return interpose::receive(queue, to, size, priority, at);
}

PENSTOCK_INTERPOSED ssize_t mq_receive(mqd_t queue, char* to, size_t size, unsigned* priority) {
  return interpose::receive(queue, to, size, priority, nullptr);
}

PENSTOCK_INTERPOSED int mq_timedsend(mqd_t queue, const char* from, size_t size, unsigned priority,
                                     const timespec* at) {
  return interpose::send(queue, from, size, priority, at);
}

PENSTOCK_INTERPOSED int mq_send(mqd_t queue, const char* from, size_t size, unsigned priority) {
  return interpose::send(queue, from, size, priority, nullptr);
}
