#include "runtime/interpose/descriptor.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <cstddef>
#include <memory>
#include <mutex>
#include <new>
#include <utility>

#include "runtime/interpose/epoll_set.h"
#include "runtime/interpose/fd_watch.h"
#include "runtime/interpose/guarded_connection.h"
#include "runtime/interpose/guarded_set.h"
#include "runtime/interpose/libc.h"

namespace penstock::interpose {
namespace {

constexpr std::size_t kChunk = kNumbersAtATime;
constexpr std::size_t kChunks = kNumbers / kChunk;

using Chunk = std::array<Descriptor, kChunk>;
constinit std::array<std::atomic<Chunk*>, kChunks> chunks{};

class KeptErrno {
 public:
  ~KeptErrno() { errno = kept_; }

 private:
  const int kept_ = errno;
};

void release(OwnedFlag* owned) noexcept {
  if (owned != nullptr && owned->references.fetch_sub(1) == 1) delete owned;
}

int status_flags(int fd) noexcept { return real::fcntl(fd, F_GETFL, nullptr); }

void set_status_flags(int fd, int flags) noexcept {
  real::fcntl(fd, F_SETFL, reinterpret_cast<void*>(static_cast<std::intptr_t>(flags)));
}

}  // namespace

Descriptor* find_descriptor(int fd) noexcept {
  const auto number = static_cast<std::size_t>(fd);
  if (fd < 0 || number >= kChunk * kChunks) return nullptr;
  Chunk* chunk = chunks[number / kChunk].load(std::memory_order_acquire);
  return chunk != nullptr ? &(*chunk)[number % kChunk] : nullptr;
}

Descriptor* make_descriptor(int fd) noexcept {
  if (Descriptor* known = find_descriptor(fd)) return known;
  const auto number = static_cast<std::size_t>(fd);
  if (fd < 0 || number >= kChunk * kChunks) return nullptr;
  std::unique_ptr<Chunk> made(new (std::nothrow) Chunk);
  if (made == nullptr) return nullptr;
  Chunk* present = nullptr;
  if (chunks[number / kChunk].compare_exchange_strong(present, made.get(), std::memory_order_acq_rel)) made.release();
  return find_descriptor(fd);
}

Kind kind_of(int fd, Descriptor& descriptor) noexcept {
  Kind kind = descriptor.kind.load(std::memory_order_relaxed);
  if (kind != Kind::unknown) [[likely]]
    return kind;
  const KeptErrno kept;
  struct stat status;
  if (::fstat(fd, &status) != 0) return Kind::plain;
  if (S_ISSOCK(status.st_mode)) {
    kind = Kind::socket;
  } else if (S_ISREG(status.st_mode) || S_ISDIR(status.st_mode) || S_ISBLK(status.st_mode)) {
    kind = Kind::plain;
  } else {
    kind = Kind::nowait;
  }
  descriptor.kind.store(kind, std::memory_order_relaxed);
  return kind;
}

bool nonblocking(int fd, Descriptor* descriptor) noexcept {
  const KeptErrno kept;
  if (descriptor != nullptr) {
    std::lock_guard guard(descriptor->lock);
    if (descriptor->owned != nullptr) return descriptor->owned->nonblocking.load(std::memory_order_relaxed);
    if (descriptor->unblocked != 0) return descriptor->nonblocking;
  }
  return (status_flags(fd) & O_NONBLOCK) != 0;
}

void forget(int fd) noexcept {
  Descriptor* descriptor = find_descriptor(fd);
  if (descriptor == nullptr) return;
  const KeptErrno kept;
  OwnedFlag* owned;
  std::shared_ptr<GuardedConnection> connection;
  std::unique_ptr<EpollSet> set;
  std::unique_ptr<GuardedSet> guarded_set;
  {
    std::lock_guard guard(descriptor->lock);
    descriptor->generation.fetch_add(1, std::memory_order_relaxed);
    descriptor->kind.store(Kind::unknown, std::memory_order_relaxed);
    owned = std::exchange(descriptor->owned, nullptr);
    descriptor->guarded.store(false, std::memory_order_relaxed);
    descriptor->shut_down.store(0, std::memory_order_relaxed);
    descriptor->member_of.store(-1, std::memory_order_relaxed);
    descriptor->has_guarded.store(false, std::memory_order_relaxed);
    guarded_set.reset(std::exchange(descriptor->guarded_set, nullptr));
    connection.swap(descriptor->connection);
    descriptor->keeps.store(false, std::memory_order_relaxed);
    descriptor->kernel_only.store(false, std::memory_order_relaxed);
    descriptor->sets.store(0, std::memory_order_relaxed);
    set.reset(std::exchange(descriptor->set, nullptr));
    FdWatch::close_all(*descriptor);
  }
  release(owned);
}

void forget_watches() noexcept {
  for_each_known(0, kNumbers - 1, [](int fd) {
    Descriptor* descriptor = find_descriptor(fd);
    if (descriptor == nullptr) return;
    descriptor->lock.unlock();
    descriptor->watches = nullptr;
  });
}

void duplicated(int fd, int copy) noexcept {
  Descriptor* from = find_descriptor(fd);
  if (from == nullptr) return;
  // A set that two numbers have: what is kept belongs to one.
  EpollSet::give_to_kernel(fd);
  from->kernel_only.store(true, std::memory_order_relaxed);
  OwnedFlag* owned;
  {
    std::lock_guard guard(from->lock);
    owned = from->owned;
    if (owned == nullptr) return;
    owned->references.fetch_add(1);
  }
  Descriptor* to = make_descriptor(copy);
  if (to == nullptr) return release(owned);
  {
    std::lock_guard guard(to->lock);
    std::swap(to->owned, owned);
  }
  release(owned);
}

OwnedFlag* own_flag(int fd, Descriptor& descriptor) noexcept {
  const KeptErrno kept;
  std::lock_guard guard(descriptor.lock);
  if (descriptor.owned != nullptr) return descriptor.owned;
  int listening = 0;
  socklen_t size = sizeof listening;
  if (::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) != 0 || listening == 0) return nullptr;
  const int flags = status_flags(fd);
  if (flags < 0 || (flags & O_NONBLOCK) != 0) return nullptr;
  descriptor.owned = new (std::nothrow) OwnedFlag;
  if (descriptor.owned != nullptr) set_status_flags(fd, flags | O_NONBLOCK);
  return descriptor.owned;
}

Unblocked::Unblocked(int fd, Descriptor& descriptor) noexcept : fd_(fd), descriptor_(descriptor) {
  const KeptErrno kept;
  std::lock_guard guard(descriptor_.lock);
  if (descriptor_.unblocked++ == 0) {
    const int flags = status_flags(fd);
    descriptor_.nonblocking = flags < 0 || (flags & O_NONBLOCK) != 0;
    if (!descriptor_.nonblocking) set_status_flags(fd, flags | O_NONBLOCK);
  }
  was_ = descriptor_.owned != nullptr ? descriptor_.owned->nonblocking.load() : descriptor_.nonblocking;
}

Unblocked::~Unblocked() {
  const KeptErrno kept;
  std::lock_guard guard(descriptor_.lock);
  if (--descriptor_.unblocked == 0 && !descriptor_.nonblocking) {
    const int flags = status_flags(fd_);
    if (flags >= 0) set_status_flags(fd_, flags & ~O_NONBLOCK);
  }
}

}  // namespace penstock::interpose
