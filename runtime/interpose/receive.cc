#include <limits.h>
#include <sys/eventfd.h>

#include <chrono>
#include <cstddef>

#include "runtime/interpose/blocking_call.h"
#include "runtime/interpose/guarded_connection.h"
#include "runtime/interpose/interposed.h"
#include "runtime/interpose/io_parts.h"
#include "runtime/interpose/libc.h"

// Calls that receive: read, readv, preadv2, recv, recvfrom, recvmsg, recvmmsg, eventfd_read.

extern "C" [[noreturn]] void __chk_fail(void);

namespace penstock::interpose {
namespace {

// Never wait, whatever the descriptor.
constexpr int kNeverWaits = MSG_DONTWAIT | MSG_ERRQUEUE | MSG_OOB;

bool is_stream(int fd) noexcept {
  int type = 0;
  socklen_t size = sizeof type;
  return ::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM;
}

// What a call that never waits gave.
ssize_t noted(int fd, ssize_t n) noexcept {
  Descriptor* descriptor = find_descriptor(fd);
  if (descriptor == nullptr) return n;
  after_read(*descriptor, n);
  return n <= 0 && was_shut_down(*descriptor) ? -1 : n;
}

// `receive` gives bytes, 0 at the end, or -1.
template <class Receive>
ssize_t receive_once(fiber::Scheduler& scheduler, int fd, Receive&& receive) noexcept {
  if (!breathe(scheduler)) return -1;
  BlockingCall call(scheduler, fd, BlockingCall::kReceive);
  ssize_t n;
  do {
    n = receive();
  } while (n < 0 && call.wait());
  return noted(fd, n);
}

// MSG_WAITALL: `receive(done)` receives what follows the first `done` bytes.
template <class Receive>
ssize_t receive_all(fiber::Scheduler& scheduler, int fd, std::size_t size, int flags, Receive&& receive) noexcept {
  if (!breathe(scheduler)) return -1;
  BlockingCall call(scheduler, fd, BlockingCall::kReceive);
  std::size_t done = 0;
  for (;;) {
    const ssize_t n = noted(fd, receive(done));
    if (n < 0) {
      if (call.wait()) continue;
      return done != 0 ? static_cast<ssize_t>(done) : -1;
    }
    done += static_cast<std::size_t>(n);
    if (n == 0 || done >= size || !is_stream(fd)) return static_cast<ssize_t>(done);
    if ((flags & MSG_PEEK) != 0) {
      // What is there stays there, and so the socket is ready all the time.
      done = 0;
      if (nonblocking(fd, find_descriptor(fd))) return n;
      if (wait_until(fiber::time_in(std::chrono::milliseconds(1)), BlockingCall::kReceive.what) != Ended::timeout)
        return n;
    } else if (!call.wait_for_rest()) {
      return static_cast<ssize_t>(done);
    }
  }
}

ssize_t read_parts(fiber::Scheduler& scheduler, int fd, const iovec* parts, int count) noexcept {
  Descriptor* descriptor = make_descriptor(fd);
  const Kind kind = descriptor != nullptr ? kind_of(fd, *descriptor) : Kind::plain;
  const std::size_t size = size_of(parts, count);
  if (kind == Kind::plain || size == 0) return real::readv(fd, parts, count);
  return receive_once(scheduler, fd, [&]() -> ssize_t {
    switch (descriptor->kind.load(std::memory_order_relaxed)) {
      case Kind::socket: {
        if (count == 1) return real::recv(fd, parts->iov_base, parts->iov_len, MSG_DONTWAIT);
        msghdr message{};
        message.msg_iov = const_cast<iovec*>(parts);
        message.msg_iovlen = static_cast<std::size_t>(count);
        return real::recvmsg(fd, &message, MSG_DONTWAIT);
      }
      case Kind::nowait: {
        const ssize_t n = real::preadv2(fd, parts, count, -1, RWF_NOWAIT);
        if (n >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL && errno != ESPIPE)) return n;
        descriptor->kind.store(Kind::polled, std::memory_order_relaxed);
        [[fallthrough]];
      }
      default: {
        pollfd ready{fd, POLLIN, 0};
        if (real::poll(&ready, 1, 0) != 0 || nonblocking(fd, descriptor)) return real::readv(fd, parts, count);
        errno = EAGAIN;
        return -1;
      }
    }
  });
}

ssize_t receive(fiber::Scheduler& scheduler, int fd, void* to, std::size_t size, int flags) noexcept {
  if ((flags & MSG_WAITALL) != 0) {
    return receive_all(scheduler, fd, size, flags, [&](std::size_t done) {
      return real::recv(fd, static_cast<char*>(to) + done, size - done, flags | MSG_DONTWAIT);
    });
  }
  return receive_once(scheduler, fd, [&] { return real::recv(fd, to, size, flags | MSG_DONTWAIT); });
}

ssize_t receive_from(fiber::Scheduler& scheduler, int fd, void* to, std::size_t size, int flags, sockaddr* from,
                     socklen_t* from_size) noexcept {
  const socklen_t room = from_size != nullptr ? *from_size : 0;
  const auto attempt = [&](std::size_t done) {
    if (from_size != nullptr) *from_size = room;
    return real::recvfrom(fd, static_cast<char*>(to) + done, size - done, flags | MSG_DONTWAIT, from, from_size);
  };
  if ((flags & MSG_WAITALL) != 0) return receive_all(scheduler, fd, size, flags, attempt);
  return receive_once(scheduler, fd, [&] { return attempt(0); });
}

ssize_t receive_message(fiber::Scheduler& scheduler, int fd, msghdr* message, int flags) noexcept {
  const msghdr asked = *message;
  if ((flags & MSG_WAITALL) == 0 || (flags & MSG_PEEK) != 0) {
    return receive_once(scheduler, fd, [&] {
      *message = asked;
      return real::recvmsg(fd, message, flags | MSG_DONTWAIT);
    });
  }
  // The first piece brings what is not data.
  const std::size_t size = size_of(asked.msg_iov, static_cast<int>(asked.msg_iovlen));
  return receive_all(scheduler, fd, size, flags, [&](std::size_t done) -> ssize_t {
    if (done == 0) {
      *message = asked;
      return real::recvmsg(fd, message, flags | MSG_DONTWAIT);
    }
    IoParts rest(asked.msg_iov, static_cast<int>(asked.msg_iovlen), done);
    if (!rest) return -1;
    msghdr more{};
    more.msg_iov = rest.parts();
    more.msg_iovlen = static_cast<std::size_t>(rest.count());
    return real::recvmsg(fd, &more, flags | MSG_DONTWAIT);
  });
}

// As the system does it: the time counts between messages only.
int receive_messages(fiber::Scheduler& scheduler, int fd, mmsghdr* messages, unsigned count, int flags,
                     const timespec* timeout) noexcept {
  const Instant until =
      timeout != nullptr
          ? fiber::time_in(std::chrono::seconds(timeout->tv_sec) + std::chrono::nanoseconds(timeout->tv_nsec))
          : Instant::max();
  const int each = flags & ~MSG_WAITFORONE;
  unsigned done = 0;
  while (done < count) {
    mmsghdr& next = messages[done];
    const bool no_wait = done != 0 && (flags & MSG_WAITFORONE) != 0;
    const ssize_t n = no_wait ? real::recvmsg(fd, &next.msg_hdr, each | MSG_DONTWAIT)
                              : receive_message(scheduler, fd, &next.msg_hdr, each);
    if (n < 0) return done != 0 ? static_cast<int>(done) : -1;
    next.msg_len = static_cast<unsigned>(n);
    ++done;
    if (fiber::recent_now() >= until) break;
  }
  return static_cast<int>(done);
}

}  // namespace
}  // namespace penstock::interpose

using namespace penstock;
using namespace penstock::interpose;

PENSTOCK_INTERPOSED ssize_t read(int fd, void* to, size_t size) {
  fiber::Scheduler* scheduler = cooperative();
  if (scheduler == nullptr) return real::read(fd, to, size);
  const iovec part{to, size};
  return with_errno_of<ssize_t>([&] { return read_parts(*scheduler, fd, &part, 1); });
}

PENSTOCK_INTERPOSED ssize_t __read_chk(int fd, void* to, size_t size, size_t room) {
  if (size > room) __chk_fail();
  return read(fd, to, size);
}

PENSTOCK_INTERPOSED ssize_t readv(int fd, const iovec* parts, int count) {
  fiber::Scheduler* scheduler = cooperative();
  if (scheduler == nullptr || count <= 0 || count > IOV_MAX) return real::readv(fd, parts, count);
  return with_errno_of<ssize_t>([&] { return read_parts(*scheduler, fd, parts, count); });
}

// Without a position it is readv(); with one it is a file that is read.
PENSTOCK_INTERPOSED ssize_t preadv2(int fd, const iovec* parts, int count, off_t at, int flags) {
  return at == -1 && flags == 0 ? readv(fd, parts, count) : real::preadv2(fd, parts, count, at, flags);
}

PENSTOCK_INTERPOSED ssize_t preadv64v2(int fd, const iovec* parts, int count, off64_t at, int flags) {
  return preadv2(fd, parts, count, at, flags);
}

PENSTOCK_INTERPOSED ssize_t recv(int fd, void* to, size_t size, int flags) {
  fiber::Scheduler* scheduler = (flags & kNeverWaits) == 0 ? cooperative() : nullptr;
  if (scheduler == nullptr) return noted(fd, real::recv(fd, to, size, flags));
  return with_errno_of<ssize_t>([&] { return receive(*scheduler, fd, to, size, flags); });
}

PENSTOCK_INTERPOSED ssize_t __recv_chk(int fd, void* to, size_t size, size_t room, int flags) {
  if (size > room) __chk_fail();
  return recv(fd, to, size, flags);
}

PENSTOCK_INTERPOSED ssize_t recvfrom(int fd, void* to, size_t size, int flags, sockaddr* from, socklen_t* from_size) {
  fiber::Scheduler* scheduler = (flags & kNeverWaits) == 0 ? cooperative() : nullptr;
  if (scheduler == nullptr) return noted(fd, real::recvfrom(fd, to, size, flags, from, from_size));
  return with_errno_of<ssize_t>([&] { return receive_from(*scheduler, fd, to, size, flags, from, from_size); });
}

PENSTOCK_INTERPOSED ssize_t __recvfrom_chk(int fd, void* to, size_t size, size_t room, int flags, sockaddr* from,
                                           socklen_t* from_size) {
  if (size > room) __chk_fail();
  return recvfrom(fd, to, size, flags, from, from_size);
}

PENSTOCK_INTERPOSED ssize_t recvmsg(int fd, msghdr* message, int flags) {
  fiber::Scheduler* scheduler = (flags & kNeverWaits) == 0 ? cooperative() : nullptr;
  if (scheduler == nullptr || message->msg_iovlen > IOV_MAX) return noted(fd, real::recvmsg(fd, message, flags));
  return with_errno_of<ssize_t>([&] { return receive_message(*scheduler, fd, message, flags); });
}

PENSTOCK_INTERPOSED int recvmmsg(int fd, mmsghdr* messages, unsigned count, int flags, timespec* timeout) {
  fiber::Scheduler* scheduler = (flags & kNeverWaits) == 0 ? cooperative() : nullptr;
  if (scheduler == nullptr) return real::recvmmsg(fd, messages, count, flags, timeout);
  return with_errno_of<int>([&] { return receive_messages(*scheduler, fd, messages, count, flags, timeout); });
}

PENSTOCK_INTERPOSED int eventfd_read(int fd, eventfd_t* value) {
  return read(fd, value, sizeof *value) == sizeof *value ? 0 : -1;
}
