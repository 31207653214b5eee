#include "foreign_calls.h"

#include <poll.h>
#include <unistd.h>

ssize_t foreign_read(int fd, void* to, size_t size) { return read(fd, to, size); }

int foreign_wait_readable(int fd, int milliseconds) {
  struct pollfd ready = {fd, POLLIN, 0};
  return poll(&ready, 1, milliseconds);
}

int foreign_sleep(unsigned microseconds) { return usleep(microseconds); }
