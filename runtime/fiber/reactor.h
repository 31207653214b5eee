#pragma once

#include <sys/epoll.h>

#include <array>
#include <cstdint>
#include <vector>

#include "penstock/error.h"

namespace penstock::fiber {

// A descriptor that the thread's reactor watches. Belongs to that thread. Derived classes are owned by the reactor from
// add() until retire(), because events of a batch may still point to them.
class Watch {
 public:
  explicit Watch(int fd) : fd_(fd) {}
  virtual ~Watch() = default;
  Watch(const Watch&) = delete;
  Watch& operator=(const Watch&) = delete;

  int fd() const noexcept { return fd_; }

 protected:
  // The EPOLL* bits. Runs on the dispatcher: must neither wait nor throw.
  virtual void on_events(std::uint32_t events) noexcept = 0;

 private:
  friend class Reactor;
  const int fd_;
  bool retired_ = false;
  Watch* next_retired_ = nullptr;
};

// One epoll set. Everything is watched edge-triggered from the start, with one EPOLL_CTL_ADD, unless told otherwise.
class Reactor {
 public:
  Reactor();
  ~Reactor();
  Reactor(const Reactor&) = delete;
  Reactor& operator=(const Reactor&) = delete;

  int fd() const noexcept { return epoll_fd_; }

  // Throws std::system_error; then the watch is not registered and still the caller's.
  void add(Watch& watch, std::uint32_t events);
  // For level-triggered use. Throws std::system_error.
  void modify(Watch& watch, std::uint32_t events);
  // For one-shot use of a descriptor that may have been closed, and its number be another's, since: the next of
  // `events` is told once. 0, or the errno: EEXIST when another watch has the descriptor.
  int arm(Watch& watch, std::uint32_t events) noexcept;
  // No event will reach it any more; deletes it, after the batch if one is being worked on. To be called before its
  // descriptor is closed: a number that is reused at once is another watch.
  void retire(Watch* watch) noexcept;

  // Waits for events until then (Instant::min(): not at all; max(): for ever).
  void wait(Instant until) noexcept;
  // Hands out what wait() found.
  void hand_out() noexcept;
  // When it last had looked and handed out all there was, in nanoseconds of the steady clock: later each time.
  std::uint64_t looked_at() const noexcept { return looked_at_; }

 private:
  static constexpr int kBatch = 256;

  // Throws std::bad_alloc.
  Watch*& watch_of(int fd);

  int epoll_fd_;
  // By descriptor: who watches it. Null: nobody.
  std::vector<Watch*> watches_;
  int found_ = 0;
  std::array<epoll_event, kBatch> events_;
  std::uint64_t looked_at_ = 0;
  bool in_batch_ = false;
  Watch* retired_ = nullptr;
};

}  // namespace penstock::fiber
