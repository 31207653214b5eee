#include "runtime/interpose/streams.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include <map>
#include <mutex>
#include <new>

#include "penstock/spin_lock.h"
#include "runtime/interpose/descriptor.h"
#include "runtime/interpose/guard.h"
#include "runtime/interpose/interposed.h"
#include "runtime/interpose/real.h"

// fdopen, fileno, fclose. The C library's own streams read and write inside it, where nothing reaches; a stream with
// functions of ours does not.

PENSTOCK_REAL(fdopen)
PENSTOCK_REAL(fileno)
PENSTOCK_REAL(fileno_unlocked)
PENSTOCK_REAL(fclose)

namespace penstock::interpose {
namespace {

struct Cookie {
  int fd;
  FILE* stream = nullptr;
};

struct Streams {
  SpinLock lock;
  std::map<FILE*, int> descriptors;
};

// Never destroyed: streams are flushed when the process ends.
Streams& streams() {
  static auto* const made = new Streams;
  return *made;
}

ssize_t read_cookie(void* cookie, char* to, std::size_t size) {
  return ::read(static_cast<Cookie*>(cookie)->fd, to, size);
}

// A stream takes 0 for an error, and has no use for less.
ssize_t write_cookie(void* cookie, const char* from, std::size_t size) {
  const ssize_t n = ::write(static_cast<Cookie*>(cookie)->fd, from, size);
  return n < 0 ? 0 : n;
}

int close_cookie(void* cookie) {
  auto* closed = static_cast<Cookie*>(cookie);
  {
    std::lock_guard guard(streams().lock);
    streams().descriptors.erase(closed->stream);
  }
  const int fd = closed->fd;
  delete closed;
  return ::close(fd);
}

}  // namespace

FILE* open_stream(int fd, const char* mode) noexcept {
  auto* cookie = new (std::nothrow) Cookie{fd};
  if (cookie == nullptr) {
    errno = ENOMEM;
    return nullptr;
  }
  FILE* stream = ::fopencookie(cookie, mode, {&read_cookie, &write_cookie, nullptr, &close_cookie});
  if (stream == nullptr) {
    delete cookie;
    return nullptr;
  }
  cookie->stream = stream;
  try {
    std::lock_guard guard(streams().lock);
    streams().descriptors[stream] = fd;
  } catch (const std::bad_alloc&) {
    // fileno() then fails, as it does of streams that have none.
  }
  if (::isatty(fd) != 0) ::setvbuf(stream, nullptr, _IOLBF, 0);
  return stream;
}

int descriptor_of(FILE* stream) noexcept {
  // As the C library marks those with functions of the program's.
  if (stream == nullptr || stream->_fileno >= 0) return -1;
  Streams& all = streams();
  std::lock_guard guard(all.lock);
  const auto found = all.descriptors.find(stream);
  return found != all.descriptors.end() ? found->second : -1;
}

}  // namespace penstock::interpose

using namespace penstock;
using namespace penstock::interpose;

PENSTOCK_INTERPOSED FILE* fdopen(int fd, const char* mode) noexcept {
  if (cooperative() == nullptr) return real::fdopen(fd, mode);
  Descriptor* descriptor = make_descriptor(fd);
  if (descriptor == nullptr || kind_of(fd, *descriptor) == Kind::plain) return real::fdopen(fd, mode);
  return open_stream(fd, mode);
}

PENSTOCK_INTERPOSED int fileno(FILE* stream) noexcept {
  const int fd = descriptor_of(stream);
  return fd >= 0 ? fd : real::fileno(stream);
}

PENSTOCK_INTERPOSED int fileno_unlocked(FILE* stream) noexcept {
  const int fd = descriptor_of(stream);
  return fd >= 0 ? fd : real::fileno_unlocked(stream);
}

PENSTOCK_INTERPOSED int fclose(FILE* stream) {
  // The C library closes its own descriptors inside.
  if (stream != nullptr && stream->_fileno >= 0) {
    ::fflush(stream);
    forget(stream->_fileno);
  }
  return real::fclose(stream);
}
