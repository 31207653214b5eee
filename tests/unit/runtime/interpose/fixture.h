#pragma once

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <functional>
#include <string>
#include <utility>

#include "penstock/fiber.h"
#include "tests/unit/runtime/eventually.h"
#include "tests/unit/runtime/fiber/threads.h"

namespace penstock::interpose {

using std::chrono::milliseconds;
using std::chrono::seconds;

// A descriptor that is closed at the end, if it was not before.
class Fd {
 public:
  explicit Fd(int fd = -1) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Fd() { close(); }
  void close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

struct Ends {
  Fd one, other;
};

inline Ends socket_pair(int type = SOCK_STREAM) {
  int fds[2];
  EXPECT_EQ(::socketpair(AF_UNIX, type | SOCK_CLOEXEC, 0, fds), 0);
  return {Fd(fds[0]), Fd(fds[1])};
}

// `one` is read, `other` is written.
inline Ends make_pipe() {
  int fds[2];
  EXPECT_EQ(::pipe(fds), 0);
  return {Fd(fds[0]), Fd(fds[1])};
}

struct Listening {
  Fd fd;
  sockaddr_in address{};
};

inline Listening listening(int backlog = 128) {
  Listening made{Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)), {}};
  made.address.sin_family = AF_INET;
  made.address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof made.address;
  EXPECT_EQ(::bind(made.fd.get(), reinterpret_cast<sockaddr*>(&made.address), size), 0);
  EXPECT_EQ(::listen(made.fd.get(), backlog), 0);
  EXPECT_EQ(::getsockname(made.fd.get(), reinterpret_cast<sockaddr*>(&made.address), &size), 0);
  return made;
}

inline Fd connected_to(const sockaddr_in& address) {
  Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  EXPECT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  return fd;
}

// Runs test(index) as so many fibers on one thread, and waits for all.
inline void on_fibers(int count, const std::function<void(int)>& test) {
  fiber::Threads threads;
  threads.run([&] {
    std::vector<Fiber> fibers;
    for (int i = 0; i < count; ++i) fibers.push_back(spawn("test", [&test, i] { test(i); }));
    for (Fiber& fiber : fibers) fiber.join();
  });
}

inline void on_fiber(const std::function<void()>& test) {
  fiber::Threads threads;
  threads.run(test);
}

inline Duration time_of(const std::function<void()>& fn) {
  const auto begun = std::chrono::steady_clock::now();
  fn();
  return std::chrono::steady_clock::now() - begun;
}

}  // namespace penstock::interpose
