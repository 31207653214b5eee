#pragma once

#include <cstddef>
#include <limits>
#include <optional>
#include <stdexcept>
#include <utility>

#include "penstock/error.h"
#include "penstock/exchange.h"

// Queue and Channel: items handed from some fibers or plain threads to others. What sync.h says of waits, thread safety
// and destruction holds here, too. T must be nothrow move constructible.
//
// Items come out in the order in which they went in; who waits longest is served first, on both sides. No item is lost
// or seen twice: one that a call took is returned by it, even if its fiber was cancelled or ran into its deadline in
// the meantime, and one that could not be handed over is still the caller's.
namespace penstock {

// A queue between producers and consumers.
template <class T>
class Queue {
 public:
  // For a capacity: push never waits, and nothing but the memory bounds what piles up.
  static constexpr std::size_t kUnbounded = std::numeric_limits<std::size_t>::max();

  // Throws std::invalid_argument when zero; see Channel.
  explicit Queue(std::size_t capacity) : exchange_(capacity) {
    if (capacity == 0) throw std::invalid_argument("capacity: must not be zero");
  }

  // Waits for room. False: closed, and the item is as it was. An exception leaves it as it was, too.
  bool push(T&& item) { return exchange_.put(std::move(item), Instant::max(), "room in a queue"); }
  bool push(const T& item) { return push(T(item)); }
  // As above; false also when there was no room by then.
  bool push_until(T&& item, Instant until) { return exchange_.put(std::move(item), until, "room in a queue"); }
  bool try_push(T&& item) { return exchange_.put_at_once(std::move(item)); }
  bool try_push(const T& item) { return try_push(T(item)); }

  // Waits for an item. Empty: closed, and everything was taken.
  std::optional<T> pop() { return exchange_.take(Instant::max(), "an item of a queue"); }
  // As above; empty also when there was none by then.
  std::optional<T> pop_until(Instant until) { return exchange_.take(until, "an item of a queue"); }
  std::optional<T> try_pop() { return exchange_.take_at_once(); }

  // Nothing goes in any more, also of those that wait for room; what is in can still be taken.
  void close() noexcept { exchange_.close(); }
  bool closed() const noexcept { return exchange_.closed(); }
  std::size_t size() const noexcept { return exchange_.size(); }
  std::size_t capacity() const noexcept { return exchange_.capacity(); }

 private:
  fiber::Exchange<T> exchange_;
};

// As in Go: without a capacity each send waits for its receiver, with one only for room.
template <class T>
class Channel {
 public:
  explicit Channel(std::size_t capacity = 0) : exchange_(capacity) {}

  // Waits until a receiver has the item, or there is room for it. False: closed, and the item is as it was. An
  // exception leaves it as it was, too.
  bool send(T&& item) { return exchange_.put(std::move(item), Instant::max(), "a receiver of a channel"); }
  bool send(const T& item) { return send(T(item)); }
  // As above; false also when it was not taken by then.
  bool send_until(T&& item, Instant until) { return exchange_.put(std::move(item), until, "a receiver of a channel"); }
  // Whether a receiver was waiting, or there was room.
  bool try_send(T&& item) { return exchange_.put_at_once(std::move(item)); }
  bool try_send(const T& item) { return try_send(T(item)); }

  // Waits for an item. Empty: closed, and everything was received.
  std::optional<T> receive() { return exchange_.take(Instant::max(), "a sender of a channel"); }
  // As above; empty also when there was none by then.
  std::optional<T> receive_until(Instant until) { return exchange_.take(until, "a sender of a channel"); }
  std::optional<T> try_receive() { return exchange_.take_at_once(); }

  // Sends fail from now on, also those that wait; what there is room for can still be received.
  void close() noexcept { exchange_.close(); }
  bool closed() const noexcept { return exchange_.closed(); }
  std::size_t size() const noexcept { return exchange_.size(); }
  std::size_t capacity() const noexcept { return exchange_.capacity(); }

 private:
  fiber::Exchange<T> exchange_;
};

}  // namespace penstock
