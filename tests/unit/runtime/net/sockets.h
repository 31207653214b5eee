#pragma once

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <chrono>
#include <cstddef>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <memory>
#include <utility>

#include "penstock/fiber.h"
#include "runtime/net/socket.h"
#include "tests/unit/runtime/fiber/threads.h"

namespace penstock::net {

inline const Endpoint kAnyPort{"127.0.0.1", 0};

inline std::size_t open_descriptors() {
  std::size_t n = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) ++n;
  return n;
}

// Both ends of a connection, within one fiber's thread.
inline std::pair<Socket, Socket> connected_pair() {
  int fds[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0) std::abort();
  return {Socket(fds[0]), Socket(fds[1])};
}

inline std::pair<Socket, Socket> connected_tcp() {
  Listener listener(kAnyPort, 10);
  error_code ec;
  Socket client = Socket::connect(listener.endpoint(), std::chrono::seconds(5), ec);
  EXPECT_FALSE(ec) << ec.message();
  Endpoint peer;
  Socket server = listener.accept(peer);
  return {std::move(client), std::move(server)};
}

// Threads with a scheduler each; no descriptor is left at the end.
class Sockets : public testing::Test {
 protected:
  Sockets() : descriptors_(open_descriptors()), threads_(std::make_unique<fiber::Threads>(2)) {}
  ~Sockets() override {
    threads_.reset();
    EXPECT_EQ(open_descriptors(), descriptors_);
  }
  void run(std::function<void()> fn) { threads_->run(std::move(fn)); }

  std::size_t descriptors_;
  std::unique_ptr<fiber::Threads> threads_;
};

}  // namespace penstock::net
