#pragma once

#include <atomic>

namespace penstock::interpose {

// A function of the C library that is interposed. Found when this library is loaded, or, if used before that, at the
// first use: looking for a symbol takes more stack than some threads have, and no signal handler may do it.
class RealName {
 public:
  // Leaves it for the first use when there is none.
  void find_early() const noexcept;

 protected:
  constexpr explicit RealName(const char* name) noexcept : name_(name) {}
  void* address() const noexcept {
    void* found = address_.load(std::memory_order_relaxed);
    if (found == nullptr) [[unlikely]]
      found = find();
    return found;
  }

 private:
  // Ends the process when there is none.
  void* find() const noexcept;

  const char* const name_;
  mutable std::atomic<void*> address_{nullptr};
};

// Calls the plain one. Usable before any constructor has run.
template <class F>
class Real;

template <class R, class... A>
class Real<R(A...)> : public RealName {
 public:
  using Function = R(A...);
  constexpr explicit Real(const char* name) noexcept : RealName(name) {}
  R operator()(A... arguments) const { return get()(arguments...); }
  Function* get() const noexcept { return reinterpret_cast<Function*>(address()); }
};

template <class R, class... A>
class Real<R(A...) noexcept> : public Real<R(A...)> {
 public:
  using Real<R(A...)>::Real;
};

// With variable arguments, of which at most one is used: anything that fits in a register.
template <class R, class... A>
class Real<R(A..., ...)> : public RealName {
 public:
  using Function = R(A..., ...);
  constexpr explicit Real(const char* name) noexcept : RealName(name) {}
  R operator()(A... arguments, void* last) const { return reinterpret_cast<Function*>(address())(arguments..., last); }
};

template <class R, class... A>
class Real<R(A..., ...) noexcept> : public Real<R(A..., ...)> {
 public:
  using Real<R(A..., ...)>::Real;
};

}  // namespace penstock::interpose

// A Real of that name is found when the library is loaded: the linker makes an array of what lies in the section.
#define PENSTOCK_FOUND_EARLY(real)                                                                                    \
  [[gnu::used, gnu::section("penstock_real")]] static const penstock::interpose::RealName* const found_early_##real = \
      &(real);

// Declares the plain function of that name in namespace real.
#define PENSTOCK_REAL(name)                            \
  namespace penstock::interpose::real {                \
  inline constinit Real<decltype(::name)> name{#name}; \
  PENSTOCK_FOUND_EARLY(name)                           \
  }
