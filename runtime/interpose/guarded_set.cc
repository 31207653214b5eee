#include "runtime/interpose/guarded_set.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <exception>
#include <mutex>

#include "runtime/fiber/fiber_state.h"
#include "runtime/interpose/guarded_connection.h"

namespace penstock::interpose {

void GuardedSet::joined(int epoll_fd, int fd, Descriptor& descriptor) noexcept {
  descriptor.member_of.store(epoll_fd, std::memory_order_relaxed);
  if (descriptor.guarded.load(std::memory_order_relaxed)) guarded(fd, descriptor);
}

void GuardedSet::guarded(int fd, Descriptor& descriptor) noexcept {
  Descriptor* set = find_descriptor(descriptor.member_of.load(std::memory_order_relaxed));
  if (set == nullptr) return;
  const Member member{fd, descriptor.generation.load(std::memory_order_relaxed)};
  try {
    std::lock_guard guard(set->lock);
    if (set->guarded_set == nullptr) set->guarded_set = new GuardedSet;
    std::vector<Member>& members = set->guarded_set->members_;
    // Numbers that are others' by now make way.
    std::erase_if(members, [fd](const Member& each) {
      const Descriptor* known = find_descriptor(each.fd);
      return each.fd == fd || known->generation.load(std::memory_order_relaxed) != each.generation;
    });
    members.push_back(member);
    set->has_guarded.store(true, std::memory_order_relaxed);
  } catch (const std::exception&) {
    // Without memory its calls last until the request's deadline.
  }
}

std::vector<GuardedSet::Member> GuardedSet::members(Descriptor& set) {
  std::lock_guard guard(set.lock);
  return set.guarded_set != nullptr ? set.guarded_set->members_ : std::vector<Member>();
}

Instant GuardedSet::deadline(Descriptor& set) noexcept {
  if (!set.has_guarded.load(std::memory_order_relaxed)) return Instant::max();
  Instant earliest = Instant::max();
  try {
    for (const Member& member : members(set)) {
      Descriptor& descriptor = *find_descriptor(member.fd);
      if (descriptor.generation.load(std::memory_order_relaxed) != member.generation) continue;
      earliest = std::min(earliest, call_deadline(descriptor));
    }
  } catch (const std::exception&) {
  }
  return earliest;
}

void GuardedSet::timed_out(Descriptor& set) noexcept {
  if (!set.has_guarded.load(std::memory_order_relaxed)) return;
  const int error = errno;
  const Instant now = fiber::recent_now();
  try {
    for (const Member& member : members(set)) {
      Descriptor& descriptor = *find_descriptor(member.fd);
      if (call_deadline(descriptor) > now) continue;
      bool ended = false;
      {
        // Who closes the number changes its generation first.
        std::lock_guard guard(descriptor.lock);
        if (descriptor.generation.load(std::memory_order_relaxed) == member.generation) {
          ended = true;
          descriptor.shut_down.store(ETIMEDOUT, std::memory_order_relaxed);
          ::shutdown(member.fd, SHUT_RDWR);
        }
      }
      if (ended) call_timed_out(descriptor);
    }
  } catch (const std::exception&) {
  }
  errno = error;
}

}  // namespace penstock::interpose
