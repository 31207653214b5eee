#include "runtime/interpose/fd_watch.h"

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <exception>
#include <memory>
#include <mutex>
#include <new>
#include <utility>
#include <vector>

#include "runtime/fiber/scheduler.h"
#include "runtime/interpose/guard.h"

namespace penstock::interpose {
namespace {

// What cannot be watched is asked again and again.
constexpr auto kAskAgainAfter = std::chrono::milliseconds(5);

// By number; of one scheduler thread.
class ThreadWatches {
 public:
  ~ThreadWatches() {
    mine_ = nullptr;
    fiber::Reactor& reactor = fiber::Scheduler::current()->reactor();
    for (FdWatch* watch : watches_) {
      if (watch != nullptr) reactor.retire(watch);
    }
  }

  static ThreadWatches& mine() {
    if (mine_ == nullptr) {
      auto made = std::make_shared<ThreadWatches>();
      fiber::Scheduler::current()->keep(made);
      mine_ = made.get();
    }
    return *mine_;
  }

  FdWatch* watch(int fd) {
    const auto index = static_cast<std::size_t>(fd);
    if (index >= watches_.size()) watches_.resize(std::max(index + 1, 2 * watches_.size()));
    FdWatch*& watch = watches_[index];
    if (watch == nullptr) {
      Descriptor* descriptor = make_descriptor(fd);
      if (descriptor == nullptr) return nullptr;
      watch = new FdWatch(fd, *descriptor, *fiber::Scheduler::current());
    }
    return watch;
  }

 private:
  static constinit thread_local ThreadWatches* mine_;
  std::vector<FdWatch*> watches_;
};

constinit thread_local ThreadWatches* ThreadWatches::mine_ = nullptr;

Ended to_ended(fiber::Wake wake, Instant until) noexcept {
  if (wake == fiber::Wake::notified) return Ended::ready;
  fiber::Scheduler& scheduler = *fiber::Scheduler::current();
  if (wake == fiber::Wake::cancelled || scheduler.running().state.deadline < until) {
    // A program that tries again and again must not keep others from running.
    scheduler.yield();
    return wake == fiber::Wake::cancelled ? Ended::cancelled : Ended::deadline;
  }
  return Ended::timeout;
}

Ended looked_after(Ended ended) noexcept {
  auto* const look = ended == Ended::cancelled ? after_cancelled_wait.load(std::memory_order_relaxed) : nullptr;
  return look != nullptr ? look() : ended;
}

Ended wait(fiber::Waiter& waiter, Instant until) noexcept {
  try {
    return to_ended(waiter.wait(until), until);
  } catch (const std::exception&) {
    // No memory for a timer: let others run, and try again.
    fiber::Scheduler::current()->yield();
    return Ended::ready;
  }
}

}  // namespace

constinit std::atomic<Ended (*)() noexcept> after_cancelled_wait{nullptr};
constinit std::atomic<void (*)()> before_interrupted_call{nullptr};

FdWatch::FdWatch(int fd, Descriptor& descriptor, fiber::Scheduler& scheduler)
    : Watch(fd), descriptor_(descriptor), reactor_(scheduler.reactor()), epoll_fd_(scheduler.reactor().fd()) {
  std::lock_guard guard(descriptor_.lock);
  next_ = std::exchange(descriptor_.watches, this);
}

FdWatch::~FdWatch() {
  std::lock_guard guard(descriptor_.lock);
  FdWatch** at = &descriptor_.watches;
  while (*at != this) at = &(*at)->next_;
  *at = next_;
}

FdWatch* FdWatch::of_thread(int fd) noexcept {
  try {
    return ThreadWatches::mine().watch(fd);
  } catch (const std::bad_alloc&) {
    return nullptr;
  }
}

bool FdWatch::arm() noexcept {
  std::uint32_t wanted = 0;
  for (FdWait* wait = first_; wait != nullptr; wait = wait->next) wanted |= wait->events;
  const int error = reactor_.arm(*this, wanted);
  armed_ = error == 0 ? wanted | EPOLLONESHOT : 0;
  registered_ = error == 0;
  return error == 0;
}

bool FdWatch::add(FdWait& wait) noexcept {
  wait.watch = this;
  wait.previous = last_;
  wait.next = nullptr;
  (last_ != nullptr ? last_->next : first_) = &wait;
  last_ = &wait;
  return arm();
}

void FdWatch::remove(FdWait& wait) noexcept {
  (wait.previous != nullptr ? wait.previous->next : first_) = wait.next;
  (wait.next != nullptr ? wait.next->previous : last_) = wait.previous;
  wait.watch = nullptr;
}

void FdWatch::on_events(std::uint32_t events) noexcept {
  std::lock_guard guard(descriptor_.lock);
  armed_ = 0;
  bool exclusive_woken = false;
  bool others = false;
  for (FdWait* wait = first_; wait != nullptr;) {
    FdWait* next = wait->next;
    if ((events & (wait->events | EPOLLERR | EPOLLHUP)) == 0) {
      others = true;
    } else if (!wait->exclusive || !exclusive_woken) {
      const bool exclusive = wait->exclusive;
      remove(*wait);
      if (wait->waiter->notify()) exclusive_woken = exclusive_woken || exclusive;
    }
    wait = next;
  }
  if (others) arm();
}

void FdWatch::close() noexcept {
  // The open file may have other descriptors, also in other processes, and would go on to tell of itself.
  if (registered_) ::epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, fd(), nullptr);
  registered_ = false;
  armed_ = 0;
  while (first_ != nullptr) {
    FdWait& wait = *first_;
    wait.closed = true;
    remove(wait);
    wait.waiter->notify();
  }
}

void FdWatch::close_all(Descriptor& descriptor) noexcept {
  for (FdWatch* watch = descriptor.watches; watch != nullptr; watch = watch->next_) watch->close();
}

Ended wait_for(std::span<FdWait> waits, Instant until, fiber::WaitingFor what) noexcept {
  fiber::Waiter waiter(what);
  bool watched = true;
  for (FdWait& wait : waits) {
    FdWatch* watch = FdWatch::of_thread(wait.fd);
    if (watch == nullptr) {
      watched = false;
      continue;
    }
    wait.waiter = &waiter;
    wait.descriptor = &watch->descriptor();
    std::lock_guard guard(wait.descriptor->lock);
    if (!watch->add(wait)) watched = false;
  }
  Instant at = until;
  if (!watched) at = std::min(at, fiber::Scheduler::current()->recent() + kAskAgainAfter);
  Ended ended = wait(waiter, at);
  if (ended == Ended::timeout && at < until) ended = Ended::ready;
  bool closed = false;
  for (FdWait& wait : waits) {
    if (wait.descriptor == nullptr) continue;
    std::lock_guard guard(wait.descriptor->lock);
    if (wait.watch != nullptr) wait.watch->remove(wait);
    closed = closed || wait.closed;
    wait.descriptor = nullptr;
  }
  return closed ? Ended::closed : looked_after(ended);
}

Ended wait_until(Instant until, const char* what) noexcept {
  fiber::Waiter waiter(what);
  for (;;) {
    const Ended ended = wait(waiter, until);
    if (ended != Ended::ready) return looked_after(ended);
  }
}

void pass_on(int fd) noexcept {
  FdWatch* watch = FdWatch::of_thread(fd);
  if (watch == nullptr) return;
  std::lock_guard guard(watch->descriptor().lock);
  if (!watch->idle() && !watch->armed()) watch->arm();
}

int to_errno(Ended ended, int timeout) noexcept {
  switch (ended) {
    case Ended::closed:
      return EBADF;
    case Ended::deadline:
      return ETIMEDOUT;
    case Ended::cancelled:
      return ECANCELED;
    case Ended::interrupted:
    case Ended::restarted:
      return EINTR;
    default:
      return timeout;
  }
}

}  // namespace penstock::interpose
