#pragma once

#include <memory>
#include <optional>
#include <stdexcept>
#include <string_view>
#include <type_traits>
#include <utility>

#include "penstock/fiber.h"

namespace penstock {

template <class T>
class Future;

// Starts fn as spawn() does; the future has what it returns.
template <class Fn, class T = std::invoke_result_t<std::decay_t<Fn>&>>
Future<T> async(std::string_view name, Fn&& fn);

// The result of a fiber. Movable; destroying it leaves the fiber running. Used by one thread at a time, which need not
// be the fiber's.
template <class T>
class Future {
  static_assert(!std::is_reference_v<T>, "return a value or a pointer");

 public:
  Future() = default;

  bool valid() const { return fiber_.valid(); }
  // Whether get() would not wait. Throws std::logic_error when it is not valid.
  bool done() const { return fiber_.done(); }
  // Waits for the result, and gives it away: the future is not valid after it. Rethrows what ended the fiber. Throws
  // std::logic_error when it is not valid. Ends early with DeadlineExceeded or Cancelled of the waiting fiber, and may
  // then be called again.
  T get() {
    fiber_.join_until(Instant::max());
    Fiber ended = std::move(fiber_);
    if constexpr (!std::is_void_v<T>) return std::move(**std::exchange(result_, nullptr));
  }
  // See Fiber::cancel().
  void cancel() { fiber_.cancel(); }

 private:
  template <class Fn, class R>
  friend Future<R> async(std::string_view name, Fn&& fn);
  struct Nothing {};
  using Result = std::conditional_t<std::is_void_v<T>, Nothing, T>;

  Fiber fiber_;
  // Null for void.
  std::shared_ptr<std::optional<Result>> result_;
};

template <class Fn, class T>
Future<T> async(std::string_view name, Fn&& fn) {
  Future<T> future;
  if constexpr (std::is_void_v<T>) {
    future.fiber_ = spawn(name, std::forward<Fn>(fn));
  } else {
    future.result_ = std::make_shared<std::optional<T>>();
    future.fiber_ =
        spawn(name, [result = future.result_, fn = std::forward<Fn>(fn)]() mutable { result->emplace(fn()); });
  }
  return future;
}

}  // namespace penstock
