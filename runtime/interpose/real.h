#pragma once

#include <atomic>

namespace penstock::interpose {

// The definition of that name that comes after ours. Ends the process when there is none.
void* find_real(const char* name) noexcept;

// A function of the C library that is interposed: calls the plain one. Usable before any constructor has run, and from
// signal handlers once it was used.
template <class F>
class Real;

template <class R, class... A>
class Real<R(A...)> {
 public:
  using Function = R(A...);
  constexpr explicit Real(const char* name) noexcept : name_(name) {}
  R operator()(A... arguments) const { return get()(arguments...); }
  Function* get() const noexcept {
    Function* function = function_.load(std::memory_order_relaxed);
    if (function == nullptr) [[unlikely]] {
      function = reinterpret_cast<Function*>(find_real(name_));
      function_.store(function, std::memory_order_relaxed);
    }
    return function;
  }

 private:
  const char* const name_;
  mutable std::atomic<Function*> function_{nullptr};
};

template <class R, class... A>
class Real<R(A...) noexcept> : public Real<R(A...)> {
 public:
  using Real<R(A...)>::Real;
};

// With variable arguments, of which at most one is used: anything that fits in a register.
template <class R, class... A>
class Real<R(A..., ...)> {
 public:
  using Function = R(A..., ...);
  constexpr explicit Real(const char* name) noexcept : name_(name) {}
  R operator()(A... arguments, void* last) const {
    Function* function = function_.load(std::memory_order_relaxed);
    if (function == nullptr) [[unlikely]] {
      function = reinterpret_cast<Function*>(find_real(name_));
      function_.store(function, std::memory_order_relaxed);
    }
    return function(arguments..., last);
  }

 private:
  const char* const name_;
  mutable std::atomic<Function*> function_{nullptr};
};

template <class R, class... A>
class Real<R(A..., ...) noexcept> : public Real<R(A..., ...)> {
 public:
  using Real<R(A..., ...)>::Real;
};

}  // namespace penstock::interpose

// Declares the plain function of that name in namespace real.
#define PENSTOCK_REAL(name)                            \
  namespace penstock::interpose::real {                \
  inline constinit Real<decltype(::name)> name{#name}; \
  }
