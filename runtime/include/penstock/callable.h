#pragma once

#include <cstddef>
#include <cstring>
#include <functional>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

namespace penstock {

// A function without arguments and result, as std::function<void()> is, that need not be copyable: a lambda may own
// what it captures. Up to kInline bytes of captures cost no allocation. Movable; not thread-safe.
class Callable {
 public:
  static constexpr std::size_t kInline = 56;

  Callable() noexcept = default;
  // Of anything that can be called without arguments; the result is dropped.
  template <class F, class Fn = std::decay_t<F>>
  requires(!std::is_same_v<Fn, Callable> && std::is_invocable_v<Fn&>) Callable(F&& fn) {
    if constexpr (fits<Fn>()) {
      ::new (static_cast<void*>(place_)) Fn(std::forward<F>(fn));
      operations_ = &kHeld<Fn>;
    } else {
      ::new (static_cast<void*>(place_)) Fn*(new Fn(std::forward<F>(fn)));
      operations_ = &kOwned<Fn>;
    }
  }
  Callable(Callable&& other) noexcept { take(other); }
  Callable& operator=(Callable&& other) noexcept {
    if (this != &other) {
      reset();
      take(other);
    }
    return *this;
  }
  ~Callable() { reset(); }

  explicit operator bool() const noexcept { return operations_ != nullptr; }
  // Throws std::bad_function_call when it is empty.
  void operator()() {
    if (operations_ == nullptr) throw std::bad_function_call();
    operations_->call(place_);
  }
  // Destroys what it holds.
  void reset() noexcept {
    const Operations* operations = std::exchange(operations_, nullptr);
    if (operations != nullptr && operations->destroy != nullptr) operations->destroy(place_);
  }

 private:
  struct Operations {
    void (*call)(void* at);
    // Null: a copy of the bytes, and nothing to destroy.
    void (*move)(void* from, void* to) noexcept;
    void (*destroy)(void* at) noexcept;
  };

  template <class Fn>
  static constexpr bool fits() {
    return sizeof(Fn) <= kInline && alignof(Fn) <= alignof(void*) && std::is_nothrow_move_constructible_v<Fn>;
  }
  template <class Fn>
  static constexpr bool trivial() {
    return std::is_trivially_copyable_v<Fn> && std::is_trivially_destructible_v<Fn>;
  }
  template <class Fn>
  static Fn& held(void* at) noexcept {
    return *std::launder(static_cast<Fn*>(at));
  }
  template <class Fn>
  static void call_held(void* at) {
    std::invoke(held<Fn>(at));
  }
  template <class Fn>
  static void move_held(void* from, void* to) noexcept {
    ::new (to) Fn(std::move(held<Fn>(from)));
    held<Fn>(from).~Fn();
  }
  template <class Fn>
  static void destroy_held(void* at) noexcept {
    held<Fn>(at).~Fn();
  }
  template <class Fn>
  static void call_owned(void* at) {
    std::invoke(*held<Fn*>(at));
  }
  template <class Fn>
  static void destroy_owned(void* at) noexcept {
    delete held<Fn*>(at);
  }
  template <class Fn>
  static constexpr Operations kHeld{&call_held<Fn>, trivial<Fn>() ? nullptr : &move_held<Fn>,
                                    trivial<Fn>() ? nullptr : &destroy_held<Fn>};
  template <class Fn>
  static constexpr Operations kOwned{&call_owned<Fn>, nullptr, &destroy_owned<Fn>};

  void take(Callable& other) noexcept {
    operations_ = std::exchange(other.operations_, nullptr);
    if (operations_ == nullptr) return;
    if (operations_->move == nullptr) {
      std::memcpy(place_, other.place_, kInline);
    } else {
      operations_->move(other.place_, place_);
    }
  }

  const Operations* operations_ = nullptr;
  alignas(void*) std::byte place_[kInline];
};

}  // namespace penstock
