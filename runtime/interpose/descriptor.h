#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "penstock/spin_lock.h"

namespace penstock::interpose {

class EpollSet;
class FdWatch;
class GuardedConnection;
class GuardedSet;

// How a call on a descriptor is kept from waiting.
enum class Kind : std::uint8_t {
  unknown,
  // Files, directories and block devices: calls on them are left alone.
  plain,
  socket,
  // Pipes, terminals, eventfds and so on, that can be told not to wait call by call (RWF_NOWAIT).
  nowait,
  // Those that cannot: they are asked whether they are ready first.
  polled,
};

// The O_NONBLOCK of a listening socket, for which no call can be told not to wait: it is ours, and this is what the
// program set. Shared by duplicates of the descriptor.
struct OwnedFlag {
  std::atomic<int> references{1};
  std::atomic<bool> nonblocking{false};
};

// What is known of a descriptor's number. Never freed, and forgotten when the number is closed.
struct Descriptor {
  std::atomic<Kind> kind{Kind::unknown};
  // Grows when the number is closed.
  std::atomic<std::uint32_t> generation{0};

  // Whether `connection` is set.
  std::atomic<bool> guarded{false};
  // By us, since the time of its call was up or a call was refused: the error that says so to whoever uses it; 0: not.
  std::atomic<int> shut_down{0};
  // The epoll set that it was put into last; of such a set, whether `guarded_set` is there.
  std::atomic<int> member_of{-1};
  std::atomic<bool> has_guarded{false};

  // Of an epoll set of the program's: whether `set` is there, whether nothing may be kept there any more, and how many
  // calls wait for it. Changed under lock.
  std::atomic<bool> keeps{false};
  std::atomic<bool> kernel_only{false};
  std::atomic<int> users{0};
  // How often it was put into such sets.
  std::atomic<std::uint32_t> sets{0};

  SpinLock lock;
  // Guarded by lock. To an upstream of the policy; null: it is none.
  std::shared_ptr<GuardedConnection> connection;
  // One for each scheduler thread on which a fiber has waited for the number.
  FdWatch* watches = nullptr;
  // What is not in the kernel's epoll set; null: nothing.
  EpollSet* set = nullptr;
  // The connections to upstreams that are in an epoll set; null: none was.
  GuardedSet* guarded_set = nullptr;
  OwnedFlag* owned = nullptr;
  // Calls under way for which O_NONBLOCK is set, and whether the program had set it.
  int unblocked = 0;
  bool nonblocking = false;
};

// Numbers beyond are left alone; they are kept in chunks.
inline constexpr unsigned kNumbersAtATime = 1024;
inline constexpr unsigned kNumbers = 4096 * kNumbersAtATime;

// Null: nothing is known, as of all numbers that no fiber has used. Async-signal-safe.
Descriptor* find_descriptor(int fd) noexcept;
// Null for what cannot be a descriptor, or without memory.
Descriptor* make_descriptor(int fd) noexcept;

// Calls each(fd) for all numbers in between of which something may be known.
template <class Each>
void for_each_known(unsigned first, unsigned last, Each&& each) {
  for (std::uint64_t fd = first; fd <= last && fd < kNumbers; ++fd) {
    if (find_descriptor(static_cast<int>(fd)) == nullptr) {
      fd |= kNumbersAtATime - 1;
    } else {
      each(static_cast<int>(fd));
    }
  }
}

// Finds it out once; Kind::plain for what is no open descriptor, too. Keeps errno.
Kind kind_of(int fd, Descriptor& descriptor) noexcept;

// Whether the program has asked that calls do not wait. Keeps errno.
bool nonblocking(int fd, Descriptor* descriptor) noexcept;

// The number is about to be another's, or nobody's: ends waits for it with EBADF. On any thread.
void forget(int fd) noexcept;
// In a forked child: those that wait for a number are its parent's, and so is the epoll set that they are in.
void forget_watches() noexcept;
// `copy` is a new number of the same open file.
void duplicated(int fd, int copy) noexcept;

// Makes O_NONBLOCK of a listening socket ours. Null: it is not needed, or not possible.
OwnedFlag* own_flag(int fd, Descriptor& descriptor) noexcept;

// O_NONBLOCK is set while this lives, for a call that cannot be told otherwise not to wait; nobody else sees it.
class Unblocked {
 public:
  Unblocked(int fd, Descriptor& descriptor) noexcept;
  ~Unblocked();
  Unblocked(const Unblocked&) = delete;
  Unblocked& operator=(const Unblocked&) = delete;
  // Whether the program had set it.
  bool was() const noexcept { return was_; }

 private:
  const int fd_;
  Descriptor& descriptor_;
  bool was_;
};

}  // namespace penstock::interpose
