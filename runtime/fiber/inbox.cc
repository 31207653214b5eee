#include "runtime/fiber/inbox.h"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "runtime/fiber/plain_calls.h"
#include "runtime/fiber/waiter.h"

namespace penstock::fiber {

Inbox::Inbox() : event_fd_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  if (event_fd_ < 0) throw std::system_error(errno, std::system_category(), "eventfd");
}

Inbox::~Inbox() { ::close(event_fd_); }

bool Inbox::post(Callable fn) {
  {
    std::lock_guard guard(lock_);
    if (closed_) return false;
    posts_.push_back(std::move(fn));
  }
  notify();
  return true;
}

void Inbox::push(Waiter& ended) noexcept {
  ended.next_ended_ = ended_.load(std::memory_order_relaxed);
  while (
      !ended_.compare_exchange_weak(ended.next_ended_, &ended, std::memory_order_release, std::memory_order_relaxed)) {
  }
  notify();
}

void Inbox::notify() noexcept {
  flagged_.store(true);
  if (sleeping_.load() && sleeping_.exchange(false)) {
    // Whoever notifies may hold locks.
    const PlainCalls plain;
    const std::uint64_t one = 1;
    [[maybe_unused]] const ssize_t n = ::write(event_fd_, &one, sizeof one);
  }
}

Waiter* Inbox::take_ended() noexcept {
  Waiter* list = ended_.exchange(nullptr, std::memory_order_acquire);
  Waiter* in_order = nullptr;
  while (list != nullptr) {
    Waiter* next = list->next_ended_;
    list->next_ended_ = in_order;
    in_order = list;
    list = next;
  }
  return in_order;
}

void Inbox::run_posts() {
  if (auto* const fn = interrupt_.exchange(nullptr)) fn();
  std::vector<Callable> posts;
  {
    std::lock_guard guard(lock_);
    posts.swap(posts_);
  }
  for (auto& fn : posts) {
    fn();
    fn.reset();
  }
}

bool Inbox::fall_asleep() noexcept {
  sleeping_.store(true);
  return !flagged_.load();
}

bool Inbox::close() {
  std::lock_guard guard(lock_);
  if (!posts_.empty()) return false;
  closed_ = true;
  return true;
}

}  // namespace penstock::fiber
