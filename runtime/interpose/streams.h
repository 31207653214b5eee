#pragma once

#include <stdio.h>

namespace penstock::interpose {

// A stream over a pipe or a socket that waits as its descriptor does: read() and write() of ours stand below it. Null,
// with errno.
FILE* open_stream(int fd, const char* mode) noexcept;
// -1: it is none of ours.
int descriptor_of(FILE* stream) noexcept;

}  // namespace penstock::interpose
