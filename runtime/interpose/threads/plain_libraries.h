#pragma once

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

}  // namespace penstock::interpose
