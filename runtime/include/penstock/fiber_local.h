#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <type_traits>
#include <utility>

namespace penstock {

namespace fiber {

// A value of one fiber or plain thread.
class LocalValue {
 public:
  LocalValue() = default;
  LocalValue(const LocalValue&) = delete;
  LocalValue& operator=(const LocalValue&) = delete;
  virtual ~LocalValue() = default;

 private:
  friend class Locals;
  std::uint64_t id_ = 0;
  std::size_t index_ = 0;
  LocalValue* older_ = nullptr;
  LocalValue* newer_ = nullptr;
};

// Where each fiber keeps its value. Not for direct use.
class LocalKey {
 protected:
  LocalKey();
  ~LocalKey();
  LocalKey(const LocalKey&) = delete;
  LocalKey& operator=(const LocalKey&) = delete;

  // The caller's; null: none.
  LocalValue* find() const noexcept;
  void keep(std::unique_ptr<LocalValue> value) const;
  void drop() const noexcept;

 private:
  // The place in each fiber's table, which another key gets when this one is destroyed, and what tells the two apart.
  const std::size_t index_;
  const std::uint64_t id_;
};

}  // namespace fiber

// One T for each fiber, and for each plain thread, made when it first asks for it. To be used like a thread_local
// variable: usually static, and in any case shared by all fibers. All members are thread-safe.
//
// A fiber destroys its values when it ends, the youngest first, before whoever waits for it goes on; a plain thread
// when it exits. The destructors may wait and may use other fiber-local values, but not make this one anew. A value
// whose FiberLocal is gone stays until then.
template <class T>
class FiberLocal : fiber::LocalKey {
 public:
  // Values are T().
  FiberLocal() requires std::is_default_constructible_v<T>
  = default;
  // Values are what `make` returns, on the fiber that asks.
  explicit FiberLocal(std::function<T()> make) : make_(std::move(make)) {}

  // The caller's. Rethrows what making it threw.
  T& get() {
    if (auto* kept = static_cast<Value*>(find())) return kept->value;
    auto made = std::make_unique<Value>(make_);
    T& value = made->value;
    keep(std::move(made));
    return value;
  }
  T& operator*() { return get(); }
  T* operator->() { return &get(); }

  // Whether the caller has one.
  bool has_value() const noexcept { return find() != nullptr; }
  // Destroys the caller's.
  void reset() noexcept { drop(); }

 private:
  struct Value final : fiber::LocalValue {
    explicit Value(const std::function<T()>& make) : value(made(make)) {}
    T value;
  };
  static T made(const std::function<T()>& make) {
    if constexpr (std::is_default_constructible_v<T>) {
      if (!make) return T();
    }
    return make();
  }

  const std::function<T()> make_;
};

}  // namespace penstock
