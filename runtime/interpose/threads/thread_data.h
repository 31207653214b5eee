#pragma once

#include <link.h>

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
// Such data of one that is loaded, as a sentence; empty: it has none.
std::string fixed_thread_data(const dl_phdr_info& info);

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
