#pragma once

#include <stddef.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

// Plain calls of a library that knows nothing of fibers.
ssize_t foreign_read(int fd, void* to, size_t size);
int foreign_wait_readable(int fd, int milliseconds);
int foreign_sleep(unsigned microseconds);

#ifdef __cplusplus
}
#endif
