#pragma once

#include <signal.h>
#include <sys/epoll.h>

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

namespace penstock::interpose {

// Listeners that a program has in epoll sets of its own, which are kept out of the kernel's.
//
// A server of threads may give each of them a set with the same listener, as uWSGI does. The kernel calls into every
// set that has a descriptor when something comes, also into those that nobody waits for: with 5000 sets a new
// connection took the time of 5000 calls from whoever sent it, and the loopback's queue overflowed. Here whoever waits
// for a set waits for its listeners besides.
//
// The program sees no difference. Only level-triggered listeners that are in more sets than an ordinary program makes
// are kept, and only where its threads are fibers, so that nobody waits for the set behind our back. A set that is put
// into another, polled or duplicated is the kernel's again, with all that is in it.
class EpollSet {
 public:
  struct Listener {
    int fd = -1;
    // Of its number when it was added: another one's is gone from the set.
    std::uint32_t generation = 0;
    epoll_event event{};
  };
  static constexpr std::size_t kMost = 4;
  // A listener that is in so many sets stays in the kernel's.
  static constexpr std::uint32_t kOrdinary = 16;

  // A copy of what the set keeps.
  struct Kept {
    std::array<Listener, kMost> listeners;
    std::size_t count = 0;
    // Who takes few events at a time must not have the same ones each time.
    bool kernel_first = false;
  };

  // epoll_wait() without a wait: of the kernel's set, and of what is kept besides, which it tells. The mask is that of
  // epoll_pwait().
  static int ask(int epoll_fd, epoll_event* events, int most, const sigset_t* mask, Kept& kept) noexcept;
  // Whether ask() says more than the kernel does.
  static bool keeps(int epoll_fd) noexcept;
  // For those that ask the kernel about the set itself: it has everything from now on.
  static void give_to_kernel(int epoll_fd) noexcept;
  static bool any() noexcept { return sets_.load(std::memory_order_relaxed) != 0; }

  // While it lives, nothing is kept out of the kernel's set besides what is already: somebody waits for it.
  class Use {
   public:
    explicit Use(int epoll_fd) noexcept;
    ~Use();
    Use(const Use&) = delete;
    Use& operator=(const Use&) = delete;

   private:
    std::atomic<int>* const users_;
  };

  EpollSet() noexcept { sets_.fetch_add(1, std::memory_order_relaxed); }
  ~EpollSet() { sets_.fetch_sub(1, std::memory_order_relaxed); }
  EpollSet(const EpollSet&) = delete;
  EpollSet& operator=(const EpollSet&) = delete;

  // Of the descriptor's lock.
  Listener* find(int fd) noexcept;
  bool add(const Listener& listener) noexcept;
  void remove(Listener& listener) noexcept;
  Kept current() noexcept;
  Kept take_turn() noexcept;

 private:
  void forget_closed() noexcept;

  static std::atomic<std::size_t> sets_;
  Kept kept_;
};

// Whether listeners are kept: set when threads become fibers.
extern constinit std::atomic<bool> keep_listeners;

}  // namespace penstock::interpose
