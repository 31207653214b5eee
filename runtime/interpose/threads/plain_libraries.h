#pragma once

#include <atomic>
#include <string>
#include <vector>

namespace penstock::interpose {

// Libraries whose own threads are the kernel's, also in a program whose threads are fibers.
//
// Those that compute in parallel have a thread for each processor, which wait for each other by looking again and
// again: fibers of one thread would do so for ever. And what is loaded when there are fibers, with thread_local data at
// addresses fixed for each thread of the kernel, knows how to wait for its own; what calls it from fibers shares its
// data.

// Besides those that are known to compute: by parts of their file names. Before makes_plain_threads() is called.
void add_plain_libraries(const std::vector<std::string>& names);

// Whether threads that `code` makes are the kernel's. `began`: there are fibers. `tell` is then called once, with a
// sentence, for each library that has such data.
bool makes_plain_threads(const void* code, bool began, void (*tell)(const std::string&));

// Whether it is in such a library that has made a thread, or been there when another did: it computes, and no other
// fiber is to run where it yields or waits for its own locks. Cheap as long as there is none.
inline constinit std::atomic<bool> any_plain_library{false};
bool find_plain_library(const void* code) noexcept;
inline bool is_in_plain_library(const void* code) noexcept {
  return any_plain_library.load(std::memory_order_relaxed) && find_plain_library(code);
}

}  // namespace penstock::interpose
