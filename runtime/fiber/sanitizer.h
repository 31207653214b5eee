#pragma once

#include <boost/context/stack_context.hpp>
#include <cstddef>
#include <string>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>

#include <exception>
#elif defined(__SANITIZE_THREAD__)
#include <sanitizer/tsan_interface.h>
#endif

// Tells AddressSanitizer and ThreadSanitizer which context a thread runs. Does nothing in other builds.
namespace penstock::fiber::sanitizer {

// Whether reports name the strands, so that tasks are to be asked for their names when they begin.
#if defined(__SANITIZE_THREAD__)
inline constexpr bool kNamesStrands = true;
#else
inline constexpr bool kNamesStrands = false;
#endif

#if defined(__SANITIZE_ADDRESS__)

// What the sanitizer knows of one context.
class Strand {
 public:
  // Its stack, before it runs. The stack of a thread need not be told.
  void runs_on(const boost::context::stack_context& stack) {
    size_ = stack.size;
    lowest_ = static_cast<const std::byte*>(stack.sp) - size_;
  }
  // Its stack is the heap block around that address, as that of Boost's dispatcher is.
  void runs_in_block_of(void* inside) {
    char name[1];
    void* begin = nullptr;
    if (__asan_locate_address(inside, name, sizeof name, &begin, &size_) == nullptr || size_ == 0) std::terminate();
    lowest_ = begin;
  }
  bool knows_its_stack() const { return lowest_ != nullptr; }

  // From now on the thread counts as running `to`. The real switch follows at once, and between the two nothing throws:
  // arriving needs no second call, which Boost would leave no place for.
  static void switch_to(Strand& from, Strand& to) noexcept {
    __sanitizer_start_switch_fiber(&from.fake_stack_, to.lowest_, to.size_);
    __sanitizer_finish_switch_fiber(to.fake_stack_, &from.lowest_, &from.size_);
  }
  void named(const std::string&) noexcept {}

 private:
  const void* lowest_ = nullptr;
  std::size_t size_ = 0;
  void* fake_stack_ = nullptr;
};

// Whatever touches a stack between the two, touches one that no fiber has.
inline void stack_is_free(const void* lowest, std::size_t bytes) noexcept {
  __asan_poison_memory_region(lowest, bytes);
}
inline void stack_is_used(const void* lowest, std::size_t bytes) noexcept {
  __asan_unpoison_memory_region(lowest, bytes);
}

#else

#if defined(__SANITIZE_THREAD__)

// The sanitizer keeps a shadow call stack for each context; a function that was entered in one and left in another
// would break both. Sources that include this header are therefore compiled without notes of entry and exit.
class Strand {
 public:
  Strand() = default;
  Strand(const Strand&) = delete;
  Strand& operator=(const Strand&) = delete;
  // Not of the one that the thread counts as running.
  ~Strand() {
    if (own_) __tsan_destroy_fiber(fiber_);
  }

  void runs_on(const boost::context::stack_context&) {}
  void runs_in_block_of(void*) {}
  bool knows_its_stack() const { return true; }

  // What `from` did happens before what `to` will do.
  static void switch_to(Strand& from, Strand& to) noexcept {
    if (from.fiber_ == nullptr) from.fiber_ = __tsan_get_current_fiber();
    to.make();
    __tsan_switch_to_fiber(to.fiber_, 0);
  }
  // What its next reports call it.
  void named(const std::string& name) noexcept {
    make();
    __tsan_set_fiber_name(fiber_, name.c_str());
  }

 private:
  void make() noexcept {
    if (fiber_ != nullptr) return;
    fiber_ = __tsan_create_fiber(0);
    own_ = true;
  }

  void* fiber_ = nullptr;
  bool own_ = false;
};

#else

class Strand {
 public:
  void runs_on(const boost::context::stack_context&) {}
  void runs_in_block_of(void*) {}
  bool knows_its_stack() const { return true; }
  static void switch_to(Strand&, Strand&) noexcept {}
  void named(const std::string&) noexcept {}
};

#endif

inline void stack_is_free(const void*, std::size_t) noexcept {}
inline void stack_is_used(const void*, std::size_t) noexcept {}

#endif

}  // namespace penstock::fiber::sanitizer
