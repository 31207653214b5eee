#include "runtime/interpose/guarded_connection.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <utility>

#include "runtime/fiber/fiber_state.h"
#include "runtime/interpose/fd_watch.h"
#include "runtime/interpose/guarded_set.h"
#include "runtime/interpose/resolved_names.h"
#include "runtime/runtime_state.h"
#include "runtime/upstream/upstream_access.h"

namespace penstock::interpose {
namespace {

class KeptErrno {
 public:
  ~KeptErrno() { errno = kept_; }

 private:
  const int kept_ = errno;
};

int to_errno(RejectReason reason, const Upstream& upstream) noexcept {
  if (reason == RejectReason::deadline || reason == RejectReason::queue_timeout) return ETIMEDOUT;
  switch (UpstreamAccess::refusal_error(upstream)) {
    case decision::RefusalError::timed_out:
      return ETIMEDOUT;
    case decision::RefusalError::host_unreachable:
      return EHOSTUNREACH;
    case decision::RefusalError::network_down:
      return ENETDOWN;
    case decision::RefusalError::connection_refused:
      break;
  }
  return ECONNREFUSED;
}

std::shared_ptr<GuardedConnection> connection_of(Descriptor& descriptor) noexcept {
  if (!descriptor.guarded.load(std::memory_order_relaxed)) return nullptr;
  std::lock_guard guard(descriptor.lock);
  return descriptor.connection;
}

bool is_stream(int fd) noexcept {
  int type = 0;
  socklen_t size = sizeof type;
  return ::getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM;
}

std::shared_ptr<GuardedConnection> guard(int fd, const sockaddr* to, socklen_t size) noexcept {
  Runtime* runtime = RuntimeAccess::of_process();
  if (runtime == nullptr) return nullptr;
  try {
    Upstream* upstream = upstream_of(*runtime, to, size);
    // Who calls through the guard itself is not guarded once more.
    if (upstream == nullptr || fiber::current().upstream == &upstream->name() || !is_stream(fd)) return nullptr;
    return std::make_shared<GuardedConnection>(*upstream);
  } catch (const std::exception&) {
    return nullptr;
  }
}

}  // namespace

GuardedConnection::GuardedConnection(Upstream& upstream) noexcept
    : upstream_(upstream), runtimes_ended_(RuntimeAccess::ended()) {}

GuardedConnection::~GuardedConnection() {
  if (!call_) return;
  const bool late = !runtime_is_gone() && std::chrono::steady_clock::now() >= call_->deadline();
  finish(late ? CallOutcome::timeout : CallOutcome::cancelled);
}

bool GuardedConnection::runtime_is_gone() const noexcept { return RuntimeAccess::ended() != runtimes_ended_; }

bool GuardedConnection::begin() noexcept {
  {
    std::lock_guard guard(lock_);
    if (call_ || beginning_ || runtime_is_gone()) return true;
    beginning_ = true;
  }
  int error = 0;
  std::optional<Upstream::Call> call;
  try {
    call.emplace(upstream_.begin());
  } catch (const Rejected& e) {
    error = to_errno(e.reason(), upstream_);
  } catch (const Cancelled&) {
    error = ECANCELED;
  } catch (const DeadlineExceeded&) {
    error = ETIMEDOUT;
  } catch (const std::exception&) {
    error = ENOMEM;
  }
  std::lock_guard guard(lock_);
  beginning_ = false;
  if (call) call_.emplace(std::move(*call));
  if (error == 0) return true;
  errno = error;
  return false;
}

void GuardedConnection::finish(CallOutcome outcome) noexcept {
  std::optional<Upstream::Call> call;
  {
    std::lock_guard guard(lock_);
    if (!call_) return;
    call.emplace(std::move(*call_));
    call_.reset();
  }
  if (runtime_is_gone()) {
    // There is nobody to tell any more.
    static_cast<void>(new (std::nothrow) Upstream::Call(std::move(*call)));
    return;
  }
  try {
    call->finish(outcome);
  } catch (const std::exception&) {
    // No memory to tell of a change; the call has ended.
  }
}

Instant GuardedConnection::deadline() noexcept {
  std::lock_guard guard(lock_);
  return call_ ? call_->deadline() : Instant::max();
}

bool before_connect(int fd, Descriptor& descriptor, const sockaddr* to, socklen_t size) noexcept {
  const int before = errno;
  std::shared_ptr<GuardedConnection> connection = connection_of(descriptor);
  if (connection == nullptr) {
    connection = guard(fd, to, size);
    if (connection == nullptr) {
      errno = before;
      return true;
    }
    std::lock_guard guard(descriptor.lock);
    descriptor.connection = connection;
    descriptor.guarded.store(true, std::memory_order_relaxed);
  }
  if (was_shut_down(descriptor) || !connection->begin()) return false;
  GuardedSet::guarded(fd, descriptor);
  errno = before;
  return true;
}

void after_connect(Descriptor& descriptor, int result) noexcept {
  if (result == 0) return;
  const KeptErrno kept;
  const int error = errno;
  if (error == EINPROGRESS || error == EALREADY || error == EISCONN || error == EINTR || error == ETIMEDOUT) return;
  if (const auto connection = connection_of(descriptor)) {
    connection->finish(error == ECANCELED ? CallOutcome::cancelled : CallOutcome::error);
  }
}

bool before_write(int fd, Descriptor& descriptor) noexcept {
  const auto connection = connection_of(descriptor);
  if (connection == nullptr) return true;
  if (was_shut_down(descriptor)) return false;
  if (connection->begin()) return true;
  // The request's own end is told by each wait anyway.
  if (errno == ECANCELED || fiber::current().deadline <= fiber::recent_now()) return false;
  const KeptErrno kept;
  std::lock_guard guard(descriptor.lock);
  if (descriptor.connection == connection) {
    descriptor.shut_down.store(errno, std::memory_order_relaxed);
    ::shutdown(fd, SHUT_RDWR);
  }
  return false;
}

void after_read(Descriptor& descriptor, ssize_t result) noexcept {
  if (!descriptor.guarded.load(std::memory_order_relaxed)) return;
  const KeptErrno kept;
  if (result < 0 && (errno == EAGAIN || errno == EINTR || errno == EBADF || errno == ETIMEDOUT)) return;
  const auto connection = connection_of(descriptor);
  if (connection == nullptr) return;
  if (result < 0 && errno == ECANCELED) return connection->finish(CallOutcome::cancelled);
  connection->finish(result > 0 ? CallOutcome::ok : CallOutcome::error);
}

bool was_shut_down(Descriptor& descriptor) noexcept {
  const int error = descriptor.shut_down.load(std::memory_order_relaxed);
  if (error == 0) [[likely]]
    return false;
  errno = error;
  return true;
}

Instant call_deadline(Descriptor& descriptor) noexcept {
  const auto connection = connection_of(descriptor);
  return connection != nullptr ? connection->deadline() : Instant::max();
}

void call_timed_out(Descriptor& descriptor) noexcept {
  const KeptErrno kept;
  if (const auto connection = connection_of(descriptor)) connection->finish(CallOutcome::timeout);
}

Instant call_deadline(std::span<const FdWait> waits) noexcept {
  Instant earliest = Instant::max();
  for (const FdWait& wait : waits) {
    Descriptor* descriptor = find_descriptor(wait.fd);
    if (descriptor == nullptr) continue;
    earliest = std::min({earliest, call_deadline(*descriptor), GuardedSet::deadline(*descriptor)});
  }
  return earliest;
}

bool calls_timed_out(std::span<const FdWait> waits) noexcept {
  const Instant now = fiber::recent_now();
  bool any = false;
  for (const FdWait& wait : waits) {
    Descriptor* descriptor = find_descriptor(wait.fd);
    if (descriptor == nullptr) continue;
    GuardedSet::timed_out(*descriptor);
    if (call_deadline(*descriptor) > now) continue;
    call_timed_out(*descriptor);
    any = true;
  }
  return any;
}

}  // namespace penstock::interpose
