#pragma once

#include <array>
#include <cstddef>
#include <string>

namespace penstock::interpose {

// thread_local data of the program, a copy for each thread that is a fiber.
//
// Shared libraries ask __tls_get_addr() where theirs is, which answers for the calling fiber. What is compiled into
// instructions (that of the program's own file, and libraries built for static TLS) cannot be told apart: a program
// that has such data is refused. The data of the C library, of the C++ library and of the runtime belongs to the
// kernel's thread: errno and the state of exceptions are switched with the fiber, the rest has no state of a thread of
// the program.
//
// Why the program's threads cannot be fibers, as a sentence; empty: they can. Looks at all that is loaded.
std::string thread_data_objection();
// Whether a library that was loaded after the first fiber was made has such data, and that code: threads that it makes
// are then to be the kernel's, which it knows how to wait for. What calls it from fibers shares its data. `tell` is
// called once for each such library, with a sentence.
bool is_of_late_fixed_data(const void* code, void (*tell)(const std::string&));

// Within its scope destructors of thread_local objects that the caller makes are never called.
class WithoutThreadExit {
 public:
  WithoutThreadExit() noexcept { ++depth_; }
  ~WithoutThreadExit() { --depth_; }
  static bool active() noexcept { return depth_ != 0; }

 private:
  static inline constinit thread_local int depth_ = 0;
};

// By module of the dynamic loader, in chunks.
class ThreadData {
 public:
  ThreadData() = default;
  ~ThreadData();
  ThreadData(const ThreadData&) = delete;
  ThreadData& operator=(const ThreadData&) = delete;

  // Null: the module's data is the kernel's thread's.
  std::byte* block(std::size_t module) noexcept;

 private:
  static constexpr std::size_t kModules = 512;
  std::array<std::byte*, kModules>* blocks_ = nullptr;
};

}  // namespace penstock::interpose
