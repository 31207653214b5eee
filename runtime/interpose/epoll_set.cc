#include "runtime/interpose/epoll_set.h"

#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <mutex>
#include <new>

#include "runtime/fiber/scheduler.h"
#include "runtime/interpose/descriptor.h"
#include "runtime/interpose/guard.h"
#include "runtime/interpose/guarded_set.h"
#include "runtime/interpose/interposed.h"
#include "runtime/interpose/libc.h"

PENSTOCK_REAL(epoll_ctl)

// epoll_ctl, and the listeners of EpollSet.

namespace penstock::interpose {

constinit std::atomic<bool> keep_listeners{false};
constinit std::atomic<std::size_t> EpollSet::sets_{0};

namespace {

constexpr std::uint32_t kReadable = EPOLLIN | EPOLLRDNORM | EPOLLPRI | EPOLLRDHUP | EPOLLERR | EPOLLHUP;

// Asked for as poll() would: level-triggered, and of all sets alike.
bool can_be_kept(const epoll_event& event) noexcept {
  return (event.events & EPOLLIN) != 0 && (event.events & ~kReadable) == 0;
}

bool is_listening(int fd) noexcept {
  const int error = errno;
  int listening = 0;
  socklen_t size = sizeof listening;
  const bool known = ::getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &size) == 0;
  errno = error;
  return known && listening != 0;
}

// Null: it keeps nothing.
Descriptor* keeper(int epoll_fd) noexcept {
  if (!EpollSet::any()) return nullptr;
  Descriptor* descriptor = find_descriptor(epoll_fd);
  return descriptor != nullptr && descriptor->keeps.load(std::memory_order_relaxed) ? descriptor : nullptr;
}

int fail(int error) noexcept {
  errno = error;
  return -1;
}

bool keep(Descriptor& set, const EpollSet::Listener& listener) noexcept {
  std::lock_guard guard(set.lock);
  if (set.users.load(std::memory_order_relaxed) != 0) return false;
  if (set.set == nullptr) set.set = new (std::nothrow) EpollSet;
  if (set.set == nullptr || !set.set->add(listener)) return false;
  set.keeps.store(true, std::memory_order_relaxed);
  return true;
}

int add(int epoll_fd, int fd, epoll_event* event) noexcept {
  if (Descriptor* set = keeper(epoll_fd)) {
    std::lock_guard guard(set->lock);
    if (set->set != nullptr && set->set->find(fd) != nullptr) return fail(EEXIST);
  }
  EpollSet::give_to_kernel(fd);
  Descriptor* added = make_descriptor(fd);
  Descriptor* set = make_descriptor(epoll_fd);
  if (added == nullptr || set == nullptr) return real::epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, event);
  // Should it be a set itself: whoever waits for the outer one cannot know of what is kept here.
  added->kernel_only.store(true, std::memory_order_relaxed);
  const bool crowded = event != nullptr && can_be_kept(*event) &&
                       added->sets.fetch_add(1, std::memory_order_relaxed) >= EpollSet::kOrdinary &&
                       keep_listeners.load(std::memory_order_relaxed) && may_wait() != nullptr &&
                       !set->kernel_only.load(std::memory_order_relaxed) && is_listening(fd);
  // Also when it is kept: it says what is wrong with the call.
  const int result = real::epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, event);
  if (result == 0) GuardedSet::joined(epoll_fd, fd, *added);
  if (result != 0 || !crowded) return result;
  if (keep(*set, {fd, added->generation.load(std::memory_order_relaxed), *event})) {
    real::epoll_ctl(epoll_fd, EPOLL_CTL_DEL, fd, nullptr);
  }
  return 0;
}

int change(Descriptor& set, int epoll_fd, int operation, int fd, epoll_event* event) noexcept {
  {
    std::lock_guard guard(set.lock);
    EpollSet::Listener* listener = set.set != nullptr ? set.set->find(fd) : nullptr;
    if (listener == nullptr) return real::epoll_ctl(epoll_fd, operation, fd, event);
    if (operation == EPOLL_CTL_DEL) {
      set.set->remove(*listener);
      return 0;
    }
    if (event == nullptr) return fail(EFAULT);
    if ((event->events & EPOLLEXCLUSIVE) != 0) return fail(EINVAL);
    if (can_be_kept(*event)) {
      listener->event = *event;
      return 0;
    }
    set.set->remove(*listener);
  }
  return real::epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, event);
}

int ask_kept(const EpollSet::Kept& kept, epoll_event* events, int most) noexcept {
  std::array<pollfd, EpollSet::kMost> fds;
  for (std::size_t i = 0; i < kept.count; ++i) {
    const EpollSet::Listener& listener = kept.listeners[i];
    fds[i] = {listener.fd, static_cast<short>(listener.event.events), 0};
  }
  if (real::poll(fds.data(), kept.count, 0) <= 0) return 0;
  int found = 0;
  for (std::size_t i = 0; i < kept.count && found < most; ++i) {
    // A number that was closed meanwhile is in no set.
    if (fds[i].revents == 0 || (fds[i].revents & POLLNVAL) != 0) continue;
    events[found].events = static_cast<std::uint32_t>(fds[i].revents);
    events[found++].data = kept.listeners[i].event.data;
  }
  return found;
}

}  // namespace

EpollSet::Use::Use(int epoll_fd) noexcept
    : users_([epoll_fd] {
        Descriptor* descriptor = keep_listeners.load(std::memory_order_relaxed) ? make_descriptor(epoll_fd) : nullptr;
        return descriptor != nullptr ? &descriptor->users : nullptr;
      }()) {
  if (users_ == nullptr) return;
  std::lock_guard guard(find_descriptor(epoll_fd)->lock);
  users_->fetch_add(1, std::memory_order_relaxed);
}

EpollSet::Use::~Use() {
  if (users_ != nullptr) users_->fetch_sub(1, std::memory_order_relaxed);
}

EpollSet::Listener* EpollSet::find(int fd) noexcept {
  forget_closed();
  for (std::size_t i = 0; i < kept_.count; ++i) {
    if (kept_.listeners[i].fd == fd) return &kept_.listeners[i];
  }
  return nullptr;
}

bool EpollSet::add(const Listener& listener) noexcept {
  if (kept_.count == kMost) return false;
  kept_.listeners[kept_.count++] = listener;
  return true;
}

void EpollSet::remove(Listener& listener) noexcept { listener = kept_.listeners[--kept_.count]; }

void EpollSet::forget_closed() noexcept {
  for (std::size_t i = kept_.count; i-- > 0;) {
    Listener& listener = kept_.listeners[i];
    const Descriptor* descriptor = find_descriptor(listener.fd);
    if (descriptor->generation.load(std::memory_order_relaxed) != listener.generation) remove(listener);
  }
}

EpollSet::Kept EpollSet::current() noexcept {
  forget_closed();
  return kept_;
}

EpollSet::Kept EpollSet::take_turn() noexcept {
  kept_.kernel_first = !kept_.kernel_first;
  return current();
}

bool EpollSet::keeps(int epoll_fd) noexcept { return keeper(epoll_fd) != nullptr; }

int EpollSet::ask(int epoll_fd, epoll_event* events, int most, const sigset_t* mask, Kept& kept) noexcept {
  kept.count = 0;
  if (Descriptor* descriptor = keeper(epoll_fd)) {
    std::lock_guard guard(descriptor->lock);
    if (descriptor->set != nullptr) kept = descriptor->set->take_turn();
  }
  if (kept.count == 0 || most <= 0) return real::epoll_pwait(epoll_fd, events, most, 0, mask);
  int found = kept.kernel_first ? 0 : ask_kept(kept, events, most);
  if (found == most) return found;
  const int kernels = real::epoll_pwait(epoll_fd, events + found, most - found, 0, mask);
  if (kernels < 0) return found > 0 ? found : kernels;
  found += kernels;
  return kept.kernel_first && found < most ? found + ask_kept(kept, events + found, most - found) : found;
}

void EpollSet::give_to_kernel(int epoll_fd) noexcept {
  Descriptor* descriptor = keeper(epoll_fd);
  if (descriptor == nullptr) return;
  const int error = errno;
  std::lock_guard guard(descriptor->lock);
  descriptor->kernel_only.store(true, std::memory_order_relaxed);
  if (descriptor->set == nullptr) return;
  Kept kept = descriptor->set->current();
  for (std::size_t i = 0; i < kept.count; ++i) {
    real::epoll_ctl(epoll_fd, EPOLL_CTL_ADD, kept.listeners[i].fd, &kept.listeners[i].event);
    descriptor->set->remove(*descriptor->set->find(kept.listeners[i].fd));
  }
  errno = error;
}

}  // namespace penstock::interpose

using namespace penstock;
using namespace penstock::interpose;

PENSTOCK_INTERPOSED int epoll_ctl(int epoll_fd, int operation, int fd, epoll_event* event) noexcept {
  // The runtime's own set has everything in the kernel.
  fiber::Scheduler* scheduler = fiber::Scheduler::current();
  if (scheduler != nullptr && scheduler->reactor().fd() == epoll_fd) {
    return real::epoll_ctl(epoll_fd, operation, fd, event);
  }
  if (operation == EPOLL_CTL_ADD) return add(epoll_fd, fd, event);
  Descriptor* set = keeper(epoll_fd);
  return set != nullptr ? change(*set, epoll_fd, operation, fd, event)
                        : real::epoll_ctl(epoll_fd, operation, fd, event);
}
