#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <optional>
#include <type_traits>
#include <utility>

#include "penstock/error.h"
#include "penstock/spin_lock.h"
#include "penstock/wait_list.h"

// What Queue and Channel are made of. Not for direct use.
namespace penstock::fiber {

// A ring that grows as needed and never shrinks.
template <class T>
class Ring {
 public:
  Ring() = default;
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;
  ~Ring() {
    while (size_ != 0) pop();
    if (items_ != nullptr) std::allocator<T>().deallocate(items_, room_);
  }
  std::size_t size() const noexcept { return size_; }
  // Throws std::bad_alloc; the item is then untouched.
  void push(T&& item) {
    if (size_ == room_) grow();
    std::construct_at(items_ + ((first_ + size_) & (room_ - 1)), std::move(item));
    ++size_;
  }
  T pop() noexcept {
    T& item = items_[first_];
    T taken = std::move(item);
    std::destroy_at(&item);
    first_ = (first_ + 1) & (room_ - 1);
    --size_;
    return taken;
  }

 private:
  void grow() {
    const std::size_t room = room_ == 0 ? 8 : 2 * room_;
    T* const items = std::allocator<T>().allocate(room);
    for (std::size_t i = 0; i < size_; ++i) {
      T& item = items_[(first_ + i) & (room_ - 1)];
      std::construct_at(items + i, std::move(item));
      std::destroy_at(&item);
    }
    if (items_ != nullptr) std::allocator<T>().deallocate(items_, room_);
    items_ = items;
    room_ = room;
    first_ = 0;
  }

  // A power of two, or zero.
  std::size_t room_ = 0;
  std::size_t first_ = 0;
  std::size_t size_ = 0;
  T* items_ = nullptr;
};

// A bounded buffer with those who wait on either side of it.
template <class T>
class Exchange {
  static_assert(std::is_nothrow_move_constructible_v<T>);

 public:
  explicit Exchange(std::size_t capacity) : capacity_(capacity) {}

  bool put(T&& item, Instant until, const char* waiting_for) {
    std::lock_guard guard(lock_);
    if (try_put(item)) return true;
    if (closed_) return false;
    Wait place(&item);
    // Released by a taker, which has moved the item, or by close(), which has set the flag.
    return putters_.wait_or_throw(lock_, place, until, waiting_for) && !place.flag;
  }
  bool put_at_once(T&& item) {
    std::lock_guard guard(lock_);
    return try_put(item);
  }
  std::optional<T> take(Instant until, const char* waiting_for) {
    std::lock_guard guard(lock_);
    std::optional<T> item = try_take();
    if (item || closed_) return item;
    Wait place(&item);
    takers_.wait_or_throw(lock_, place, until, waiting_for);
    return item;
  }
  std::optional<T> take_at_once() {
    std::lock_guard guard(lock_);
    return try_take();
  }
  void close() noexcept {
    std::lock_guard guard(lock_);
    closed_ = true;
    takers_.release_all();
    while (Wait* putter = putters_.release()) putter->flag = true;
  }
  bool closed() const noexcept {
    std::lock_guard guard(lock_);
    return closed_;
  }
  std::size_t size() const noexcept {
    std::lock_guard guard(lock_);
    return ring_.size();
  }
  std::size_t capacity() const noexcept { return capacity_; }

 private:
  bool try_put(T& item) {
    if (closed_) return false;
    if (Wait* taker = takers_.release()) {
      static_cast<std::optional<T>*>(taker->slot)->emplace(std::move(item));
      return true;
    }
    if (ring_.size() >= capacity_) return false;
    ring_.push(std::move(item));
    return true;
  }
  std::optional<T> try_take() {
    if (ring_.size() == 0) {
      // Without room, from hand to hand.
      if (Wait* putter = putters_.release()) return std::move(*static_cast<T*>(putter->slot));
      return std::nullopt;
    }
    std::optional<T> item(ring_.pop());
    // There was room for one before it: nothing is allocated.
    if (Wait* putter = putters_.release()) ring_.push(std::move(*static_cast<T*>(putter->slot)));
    return item;
  }

  const std::size_t capacity_;
  mutable SpinLock lock_;
  bool closed_ = false;
  WaitList putters_;
  WaitList takers_;
  Ring<T> ring_;
};

}  // namespace penstock::fiber
