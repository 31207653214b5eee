#pragma once

#include <cstdint>
#include <vector>

#include "penstock/error.h"
#include "runtime/interpose/descriptor.h"

namespace penstock::interpose {

// The connections to upstreams that are in an epoll set of the program's. Who waits for the set waits for none of them
// in particular: when the time of a call is up its connection is shut down, which the set tells, and what is then read
// from it or written to it gives ETIMEDOUT.
class GuardedSet {
 public:
  // After epoll_ctl() has added it, and when a connection begins to be guarded.
  static void joined(int epoll_fd, int fd, Descriptor& descriptor) noexcept;
  static void guarded(int fd, Descriptor& descriptor) noexcept;

  // Of the earliest call; Instant::max(): none is under way.
  static Instant deadline(Descriptor& set) noexcept;
  // Ends those whose time is up.
  static void timed_out(Descriptor& set) noexcept;

 private:
  struct Member {
    int fd;
    std::uint32_t generation;
  };
  static std::vector<Member> members(Descriptor& set);

  std::vector<Member> members_;
};

}  // namespace penstock::interpose
