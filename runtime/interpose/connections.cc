#include <errno.h>

#include <algorithm>
#include <chrono>

#include "runtime/interpose/blocking_call.h"
#include "runtime/interpose/guarded_connection.h"
#include "runtime/interpose/interposed.h"
#include "runtime/interpose/libc.h"

// connect, accept, accept4.

namespace penstock::interpose {
namespace {

constexpr auto kFirstPause = std::chrono::microseconds(200);
constexpr auto kLongestPause = std::chrono::milliseconds(10);

int finish_connecting(fiber::Scheduler& scheduler, int fd, const sockaddr* to, socklen_t size) noexcept {
  BlockingCall call(scheduler, fd, BlockingCall::kConnect);
  for (;;) {
    pollfd ready{fd, POLLOUT, 0};
    if (real::poll(&ready, 1, 0) != 0) break;
    if (!call.wait_for_rest()) {
      // What a blocking connect() says when SO_SNDTIMEO is over: it goes on by itself.
      if (errno == EAGAIN) errno = EINPROGRESS;
      return -1;
    }
  }
  // Told by another call, which waits no more: the socket is then connected, or can be connected again, as after one
  // that waited.
  return real::connect(fd, to, size);
}

int connect_somehow(fiber::Scheduler& scheduler, int fd, Descriptor& descriptor, const sockaddr* to,
                    socklen_t size) noexcept {
  const Instant until = bounded_by(fd, SO_SNDTIMEO);
  for (auto pause = std::chrono::nanoseconds(kFirstPause);;
       pause = std::min<std::chrono::nanoseconds>(2 * pause, kLongestPause)) {
    int result;
    {
      const Unblocked unblocked(fd, descriptor);
      result = real::connect(fd, to, size);
      if (result == 0 || unblocked.was()) return result;
    }
    if (errno == EINPROGRESS || errno == EALREADY) return finish_connecting(scheduler, fd, to, size);
    // A Unix socket whose listener has no room; nothing tells of the room.
    if (errno != EAGAIN || to->sa_family != AF_UNIX) return -1;
    const Ended ended = wait_until(std::min(until, fiber::time_in(pause)), BlockingCall::kConnect.what);
    if (ended != Ended::timeout || fiber::recent_now() >= until) {
      errno = to_errno(ended, EAGAIN);
      return -1;
    }
  }
}

int connect_on_fiber(fiber::Scheduler& scheduler, int fd, const sockaddr* to, socklen_t size) noexcept {
  Descriptor* descriptor = make_descriptor(fd);
  if (descriptor == nullptr || kind_of(fd, *descriptor) != Kind::socket) return real::connect(fd, to, size);
  if (!before_connect(fd, *descriptor, to, size)) return -1;
  const int result = connect_somehow(scheduler, fd, *descriptor, to, size);
  after_connect(*descriptor, result);
  return result;
}

int accept_on_fiber(fiber::Scheduler& scheduler, int fd, sockaddr* from, socklen_t* size, int flags) noexcept {
  Descriptor* descriptor = make_descriptor(fd);
  if (descriptor == nullptr || own_flag(fd, *descriptor) == nullptr || !breathe(scheduler)) {
    return real::accept4(fd, from, size, flags);
  }
  const socklen_t room = size != nullptr ? *size : 0;
  BlockingCall call(scheduler, fd, BlockingCall::kAccept);
  int connection;
  do {
    if (size != nullptr) *size = room;
    connection = real::accept4(fd, from, size, flags);
  } while (connection < 0 && call.wait());
  return connection;
}

// A plain thread meets a listener that does not wait only because fibers use it, too.
int accept_on_thread(int fd, sockaddr* from, socklen_t* size, int flags) noexcept {
  const socklen_t room = size != nullptr ? *size : 0;
  const Instant until = bounded_by(fd, SO_RCVTIMEO);
  for (;;) {
    if (size != nullptr) *size = room;
    const int connection = real::accept4(fd, from, size, flags);
    if (connection >= 0 || errno != EAGAIN) return connection;
    Descriptor* descriptor = find_descriptor(fd);
    if (descriptor == nullptr || nonblocking(fd, descriptor)) return -1;
    int left = -1;
    if (until != Instant::max()) {
      const auto now = std::chrono::steady_clock::now();
      if (now >= until) return -1;
      left = static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(until - now).count());
    }
    pollfd ready{fd, POLLIN, 0};
    if (real::poll(&ready, 1, left) < 0) return -1;
  }
}

}  // namespace
}  // namespace penstock::interpose

using namespace penstock;
using namespace penstock::interpose;

PENSTOCK_INTERPOSED int connect(int fd, const sockaddr* to, socklen_t size) {
  fiber::Scheduler* scheduler = cooperative();
  if (scheduler == nullptr) return real::connect(fd, to, size);
  return with_errno_of<int>([&] { return connect_on_fiber(*scheduler, fd, to, size); });
}

PENSTOCK_INTERPOSED int accept4(int fd, sockaddr* from, socklen_t* size, int flags) {
  fiber::Scheduler* scheduler = cooperative();
  if (scheduler == nullptr) return with_errno_of<int>([&] { return accept_on_thread(fd, from, size, flags); });
  return with_errno_of<int>([&] { return accept_on_fiber(*scheduler, fd, from, size, flags); });
}

PENSTOCK_INTERPOSED int accept(int fd, sockaddr* from, socklen_t* size) { return accept4(fd, from, size, 0); }
