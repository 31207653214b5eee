#include "runtime/fiber/reactor.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstddef>
#include <new>
#include <system_error>

namespace penstock::fiber {
namespace {

// In one round; what is watched level-triggered may be told of again and again.
constexpr int kMostBatches = 16;

// Of a batch: watches are in no near cache any more.
constexpr int kAhead = 4;

int wait_for_events(int epoll_fd, epoll_event* events, int most, Instant until) {
  if (until == Instant::min()) return ::epoll_wait(epoll_fd, events, most, 0);
  if (until == Instant::max()) return ::epoll_wait(epoll_fd, events, most, -1);
  const Duration left = std::max(Duration::zero(), Duration(until - std::chrono::steady_clock::now()));
  const auto whole = std::chrono::duration_cast<std::chrono::seconds>(left);
  const timespec timeout{static_cast<time_t>(whole.count()), static_cast<long>((left - whole).count())};
  const int n = ::epoll_pwait2(epoll_fd, events, most, &timeout, nullptr);
  if (n >= 0 || errno != ENOSYS) return n;
  const auto milliseconds = std::chrono::ceil<std::chrono::milliseconds>(left).count();
  return ::epoll_wait(epoll_fd, events, most, static_cast<int>(std::min<long>(milliseconds, 1'000'000)));
}

}  // namespace

Reactor::Reactor() : epoll_fd_(::epoll_create1(EPOLL_CLOEXEC)) {
  if (epoll_fd_ < 0) throw std::system_error(errno, std::system_category(), "epoll_create1");
}

Reactor::~Reactor() { ::close(epoll_fd_); }

Watch*& Reactor::watch_of(int fd) {
  const auto index = static_cast<std::size_t>(fd);
  if (index >= watches_.size()) watches_.resize(std::max(index + 1, 2 * watches_.size()));
  return watches_[index];
}

void Reactor::add(Watch& watch, std::uint32_t events) {
  Watch*& known = watch_of(watch.fd_);
  epoll_event event{};
  event.events = events;
  event.data.ptr = &watch;
  if (::epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, watch.fd_, &event) != 0) {
    throw std::system_error(errno, std::system_category(), "epoll_ctl");
  }
  known = &watch;
}

int Reactor::arm(Watch& watch, std::uint32_t events) noexcept {
  Watch** known;
  try {
    known = &watch_of(watch.fd_);
  } catch (const std::bad_alloc&) {
    return ENOMEM;
  }
  if (*known != nullptr && *known != &watch) return EEXIST;
  epoll_event event{};
  event.events = events | EPOLLONESHOT;
  event.data.ptr = &watch;
  // What is registered belongs to the open file: a number's next one is not.
  const int first = *known == &watch ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
  if (::epoll_ctl(epoll_fd_, first, watch.fd_, &event) != 0) {
    if (errno != (first == EPOLL_CTL_MOD ? ENOENT : EEXIST)) return errno;
    const int other = first == EPOLL_CTL_MOD ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    if (::epoll_ctl(epoll_fd_, other, watch.fd_, &event) != 0) return errno;
  }
  *known = &watch;
  return 0;
}

void Reactor::modify(Watch& watch, std::uint32_t events) {
  epoll_event event{};
  event.events = events;
  event.data.ptr = &watch;
  if (::epoll_ctl(epoll_fd_, EPOLL_CTL_MOD, watch.fd_, &event) != 0) {
    throw std::system_error(errno, std::system_category(), "epoll_ctl");
  }
}

void Reactor::retire(Watch* watch) noexcept {
  // The descriptor may be shared (dup, fork), so that closing it would not be enough.
  const auto index = static_cast<std::size_t>(watch->fd_);
  if (index < watches_.size() && watches_[index] == watch) {
    ::epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, watch->fd_, nullptr);
    watches_[index] = nullptr;
  }
  if (!in_batch_) {
    delete watch;
    return;
  }
  watch->retired_ = true;
  watch->next_retired_ = retired_;
  retired_ = watch;
}

void Reactor::wait(Instant until) noexcept { found_ = wait_for_events(epoll_fd_, events_.data(), kBatch, until); }

void Reactor::hand_out() noexcept {
  in_batch_ = true;
  for (int batch = 1;; ++batch) {
    for (int i = 0; i < found_; ++i) {
      const epoll_event& event = events_[static_cast<std::size_t>(i)];
      if (i + kAhead < found_) __builtin_prefetch(events_[static_cast<std::size_t>(i + kAhead)].data.ptr, 1);
      Watch& watch = *static_cast<Watch*>(event.data.ptr);
      if (!watch.retired_) watch.on_events(event.events);
    }
    if (found_ < kBatch || batch == kMostBatches) break;
    found_ = wait_for_events(epoll_fd_, events_.data(), kBatch, Instant::min());
  }
  // Only if nothing that has happened is left untold.
  if (found_ >= 0 && found_ < kBatch) {
    const auto now = std::chrono::steady_clock::now().time_since_epoch() / std::chrono::nanoseconds(1);
    looked_at_ = std::max(looked_at_ + 1, static_cast<std::uint64_t>(now));
  }
  found_ = 0;
  in_batch_ = false;
  while (retired_ != nullptr) {
    Watch* next = retired_->next_retired_;
    delete retired_;
    retired_ = next;
  }
}

}  // namespace penstock::fiber
