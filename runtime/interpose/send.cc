#include <limits.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <cstddef>

#include "runtime/interpose/blocking_call.h"
#include "runtime/interpose/guarded_connection.h"
#include "runtime/interpose/interposed.h"
#include "runtime/interpose/io_parts.h"
#include "runtime/interpose/libc.h"

// Calls that send: write, writev, send, sendto, sendmsg, sendmmsg, sendfile, splice. Like those of blocking descriptors
// they go on until all is written.

namespace penstock::interpose {
namespace {

// False, with errno: the upstream's guard refuses the call that this write begins. Plain threads, which may use a
// connection that a fiber has made, are not guarded.
bool may_write(int fd) noexcept {
  Descriptor* descriptor = may_wait() != nullptr ? find_descriptor(fd) : nullptr;
  return descriptor == nullptr || before_write(fd, *descriptor);
}

// `send(done)` sends what follows the first `done` bytes.
template <class Send>
ssize_t send_all(fiber::Scheduler& scheduler, int fd, std::size_t size, Send&& send) noexcept {
  if (!breathe(scheduler) || !may_write(fd)) return -1;
  BlockingCall call(scheduler, fd, BlockingCall::kSend);
  std::size_t done = 0;
  for (;;) {
    const ssize_t n = send(done);
    if (n < 0) {
      if (call.wait()) continue;
      return done != 0 ? static_cast<ssize_t>(done) : -1;
    }
    done += static_cast<std::size_t>(n);
    // There was no room for the rest.
    if (done >= size || n == 0 || !call.wait_for_rest()) return static_cast<ssize_t>(done);
  }
}

// A signal tells of nothing sent, not of less than all.
int rest_flags(std::size_t done, int flags) noexcept { return flags | MSG_DONTWAIT | (done != 0 ? MSG_NOSIGNAL : 0); }

ssize_t send_parts(int fd, const iovec* parts, int count, std::size_t done, int flags) noexcept {
  if (count == 1) {
    return real::send(fd, static_cast<const char*>(parts->iov_base) + done, parts->iov_len - done, flags);
  }
  IoParts rest(parts, count, done);
  if (!rest) return -1;
  msghdr message{};
  message.msg_iov = rest.parts();
  message.msg_iovlen = static_cast<std::size_t>(rest.count());
  return real::sendmsg(fd, &message, flags);
}

// As much as surely finds room: poll() says that a pipe has room for that much.
ssize_t write_a_little(int fd, const iovec* parts, int count) noexcept {
  iovec first = parts[0];
  for (int i = 1; first.iov_len == 0 && i < count; ++i) first = parts[i];
  return real::write(fd, first.iov_base, std::min<std::size_t>(first.iov_len, PIPE_BUF));
}

ssize_t write_parts(fiber::Scheduler& scheduler, int fd, const iovec* parts, int count) noexcept {
  Descriptor* descriptor = make_descriptor(fd);
  const Kind kind = descriptor != nullptr ? kind_of(fd, *descriptor) : Kind::plain;
  const std::size_t size = size_of(parts, count);
  if (kind == Kind::plain || size == 0) return real::writev(fd, parts, count);
  return send_all(scheduler, fd, size, [&](std::size_t done) -> ssize_t {
    if (kind == Kind::socket) return send_parts(fd, parts, count, done, rest_flags(done, 0));
    IoParts rest(parts, count, done);
    if (!rest) return -1;
    if (descriptor->kind.load(std::memory_order_relaxed) == Kind::nowait) {
      const ssize_t n = real::pwritev2(fd, rest.parts(), rest.count(), -1, RWF_NOWAIT);
      if (n >= 0 || (errno != EOPNOTSUPP && errno != ENOSYS && errno != EINVAL && errno != ESPIPE)) return n;
      descriptor->kind.store(Kind::polled, std::memory_order_relaxed);
    }
    if (nonblocking(fd, descriptor)) return real::writev(fd, rest.parts(), rest.count());
    pollfd ready{fd, POLLOUT, 0};
    if (real::poll(&ready, 1, 0) != 0) return write_a_little(fd, rest.parts(), rest.count());
    errno = EAGAIN;
    return -1;
  });
}

ssize_t send_to(fiber::Scheduler& scheduler, int fd, const void* from, std::size_t size, int flags, const sockaddr* to,
                socklen_t to_size) noexcept {
  return send_all(scheduler, fd, size, [&](std::size_t done) {
    const char* rest = static_cast<const char*>(from) + done;
    if (to == nullptr) return real::send(fd, rest, size - done, rest_flags(done, flags));
    return real::sendto(fd, rest, size - done, rest_flags(done, flags), to, to_size);
  });
}

ssize_t send_message(fiber::Scheduler& scheduler, int fd, const msghdr* message, int flags) noexcept {
  const int count = static_cast<int>(message->msg_iovlen);
  return send_all(scheduler, fd, size_of(message->msg_iov, count), [&](std::size_t done) -> ssize_t {
    if (done == 0) return real::sendmsg(fd, message, flags | MSG_DONTWAIT);
    // What is not data went with the first piece.
    return send_parts(fd, message->msg_iov, count, done, rest_flags(done, flags));
  });
}

int send_messages(fiber::Scheduler& scheduler, int fd, mmsghdr* messages, unsigned count, int flags) noexcept {
  unsigned done = 0;
  while (done < count) {
    const ssize_t n = send_message(scheduler, fd, &messages[done].msg_hdr, flags);
    if (n < 0) return done != 0 ? static_cast<int>(done) : -1;
    messages[done++].msg_len = static_cast<unsigned>(n);
  }
  return static_cast<int>(done);
}

ssize_t send_file(fiber::Scheduler& scheduler, int to, int from, off_t* offset, std::size_t size) noexcept {
  Descriptor* descriptor = make_descriptor(to);
  if (descriptor == nullptr || kind_of(to, *descriptor) == Kind::plain) return real::sendfile(to, from, offset, size);
  if (!breathe(scheduler) || !may_write(to)) return -1;
  BlockingCall call(scheduler, to, BlockingCall::kSend);
  std::size_t done = 0;
  for (;;) {
    ssize_t n;
    {
      const Unblocked unblocked(to, *descriptor);
      n = real::sendfile(to, from, offset, size - done);
      if (unblocked.was()) return n;
    }
    if (n < 0) {
      if (call.wait()) continue;
      return done != 0 ? static_cast<ssize_t>(done) : -1;
    }
    done += static_cast<std::size_t>(n);
    // Nothing more: the end of the file.
    if (n == 0 || done >= size) return static_cast<ssize_t>(done);
  }
}

ssize_t splice_some(fiber::Scheduler& scheduler, int from, off64_t* from_offset, int to, off64_t* to_offset,
                    std::size_t size, unsigned flags) noexcept {
  Descriptor* source = make_descriptor(from);
  Descriptor* target = make_descriptor(to);
  if (source == nullptr || target == nullptr) return real::splice(from, from_offset, to, to_offset, size, flags);
  const bool source_waits = kind_of(from, *source) != Kind::plain;
  const bool target_waits = kind_of(to, *target) != Kind::plain;
  BlockingCall reading(scheduler, from, BlockingCall::kReceive);
  BlockingCall writing(scheduler, to, BlockingCall::kSend);
  for (;;) {
    ssize_t n;
    {
      const Unblocked in(from, *source), out(to, *target);
      n = real::splice(from, from_offset, to, to_offset, size, flags | SPLICE_F_NONBLOCK);
    }
    if (n >= 0 || errno != EAGAIN) return n;
    // Either side may be the one that is not ready.
    pollfd input{from, POLLIN, 0};
    const bool wait_for_input = source_waits && real::poll(&input, 1, 0) == 0;
    errno = EAGAIN;
    if (wait_for_input ? !reading.wait() : !target_waits || !writing.wait()) return -1;
  }
}

}  // namespace
}  // namespace penstock::interpose

using namespace penstock;
using namespace penstock::interpose;

PENSTOCK_INTERPOSED ssize_t write(int fd, const void* from, size_t size) {
  fiber::Scheduler* scheduler = cooperative();
  if (scheduler == nullptr) return real::write(fd, from, size);
  const iovec part{const_cast<void*>(from), size};
  return with_errno_of<ssize_t>([&] { return write_parts(*scheduler, fd, &part, 1); });
}

PENSTOCK_INTERPOSED ssize_t writev(int fd, const iovec* parts, int count) {
  fiber::Scheduler* scheduler = cooperative();
  if (scheduler == nullptr || count <= 0 || count > IOV_MAX) return real::writev(fd, parts, count);
  return with_errno_of<ssize_t>([&] { return write_parts(*scheduler, fd, parts, count); });
}

// Without a position it is writev(); with one it is a file that is written.
PENSTOCK_INTERPOSED ssize_t pwritev2(int fd, const iovec* parts, int count, off_t at, int flags) {
  return at == -1 && flags == 0 ? writev(fd, parts, count) : real::pwritev2(fd, parts, count, at, flags);
}

PENSTOCK_INTERPOSED ssize_t pwritev64v2(int fd, const iovec* parts, int count, off64_t at, int flags) {
  return pwritev2(fd, parts, count, at, flags);
}

PENSTOCK_INTERPOSED ssize_t send(int fd, const void* from, size_t size, int flags) {
  fiber::Scheduler* scheduler = (flags & MSG_DONTWAIT) == 0 ? cooperative() : nullptr;
  if (scheduler == nullptr) return may_write(fd) ? real::send(fd, from, size, flags) : -1;
  return with_errno_of<ssize_t>([&] { return send_to(*scheduler, fd, from, size, flags, nullptr, 0); });
}

PENSTOCK_INTERPOSED ssize_t sendto(int fd, const void* from, size_t size, int flags, const sockaddr* to,
                                   socklen_t to_size) {
  fiber::Scheduler* scheduler = (flags & MSG_DONTWAIT) == 0 ? cooperative() : nullptr;
  if (scheduler == nullptr) return may_write(fd) ? real::sendto(fd, from, size, flags, to, to_size) : -1;
  return with_errno_of<ssize_t>([&] { return send_to(*scheduler, fd, from, size, flags, to, to_size); });
}

PENSTOCK_INTERPOSED ssize_t sendmsg(int fd, const msghdr* message, int flags) {
  fiber::Scheduler* scheduler = (flags & MSG_DONTWAIT) == 0 ? cooperative() : nullptr;
  if (scheduler == nullptr || message->msg_iovlen > IOV_MAX) {
    return may_write(fd) ? real::sendmsg(fd, message, flags) : -1;
  }
  return with_errno_of<ssize_t>([&] { return send_message(*scheduler, fd, message, flags); });
}

PENSTOCK_INTERPOSED int sendmmsg(int fd, mmsghdr* messages, unsigned count, int flags) {
  fiber::Scheduler* scheduler = (flags & MSG_DONTWAIT) == 0 ? cooperative() : nullptr;
  if (scheduler == nullptr) return real::sendmmsg(fd, messages, count, flags);
  return with_errno_of<int>([&] { return send_messages(*scheduler, fd, messages, count, flags); });
}

PENSTOCK_INTERPOSED ssize_t sendfile(int to, int from, off_t* offset, size_t size) noexcept {
  fiber::Scheduler* scheduler = cooperative();
  if (scheduler == nullptr) return real::sendfile(to, from, offset, size);
  return with_errno_of<ssize_t>([&] { return send_file(*scheduler, to, from, offset, size); });
}

PENSTOCK_INTERPOSED ssize_t sendfile64(int to, int from, off64_t* offset, size_t size) noexcept {
  return sendfile(to, from, offset, size);
}

PENSTOCK_INTERPOSED ssize_t splice(int from, off64_t* from_offset, int to, off64_t* to_offset, size_t size,
                                   unsigned flags) {
  fiber::Scheduler* scheduler = (flags & SPLICE_F_NONBLOCK) == 0 ? cooperative() : nullptr;
  if (scheduler == nullptr) return real::splice(from, from_offset, to, to_offset, size, flags);
  return with_errno_of<ssize_t>([&] { return splice_some(*scheduler, from, from_offset, to, to_offset, size, flags); });
}

PENSTOCK_INTERPOSED int eventfd_write(int fd, eventfd_t value) {
  return write(fd, &value, sizeof value) == sizeof value ? 0 : -1;
}
