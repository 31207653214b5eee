#pragma once

#include <cstdint>
#include <string>

namespace penstock::net {

enum class ShortOf { accepting, connecting };

// Whether an errno says that the process or the system has no more descriptors or memory for sockets.
bool is_shortage(int error);
// Counts it, and logs it once a second. Thread-safe.
void note_shortage(ShortOf what, const std::string& where, int error);
std::uint64_t shortages(ShortOf what);

}  // namespace penstock::net
