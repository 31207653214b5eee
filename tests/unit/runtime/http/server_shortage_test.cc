// Sanitizers reserve address space of their own, which a limit would take away from them.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>
#include <fstream>
#include <memory>
#include <thread>

#include "tests/unit/runtime/http/raw_socket.h"
#include "tests/unit/runtime/http/running_runtime.h"

namespace penstock::http {
namespace {

constexpr std::string_view kGet = "GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n";

// Bounds the address space to little more than is in use, while it lives.
class ShortOfMemory {
 public:
  ShortOfMemory() {
    std::size_t pages = 0;
    std::ifstream("/proc/self/statm") >> pages;
    ::getrlimit(RLIMIT_AS, &before_);
    rlimit tight = before_;
    tight.rlim_cur = pages * static_cast<std::size_t>(::sysconf(_SC_PAGESIZE)) + (std::size_t{32} << 20);
    ::setrlimit(RLIMIT_AS, &tight);
  }
  ~ShortOfMemory() { ::setrlimit(RLIMIT_AS, &before_); }

 private:
  rlimit before_{};
};

TEST(HttpShortage, AcceptsAgainAfterAShortageOfStacks) {
  RunningRuntime runtime(1);
  Server server(*runtime, {.port = 0});
  runtime.start();
  // Stays, or its stack would become free.
  RawSocket lucky = RawSocket::connect(server.port());
  ASSERT_EQ(lucky.ask(kGet).status, 200);

  std::atomic<bool> released{false};
  std::atomic<int> started{0};
  {
    const ShortOfMemory shortage;
    // Each holds a stack; those that get none are dropped, and their token with them.
    constexpr int kFibers = 1500;
    const auto token = std::make_shared<int>();
    for (int i = 0; i < kFibers; ++i) {
      runtime->spawn("holds a stack", [&, token] {
        ++started;
        while (!released) sleep_for(std::chrono::milliseconds(10));
      });
    }
    ASSERT_TRUE(eventually([&] { return started == token.use_count() - 1; }));
    ASSERT_LT(started, kFibers);
    RawSocket unlucky = RawSocket::connect(server.port());
    EXPECT_EQ(unlucky.ask(kGet).status, 0);
  }
  released = true;
  EXPECT_EQ(lucky.ask(kGet).status, 200);
  EXPECT_EQ(RawSocket::connect(server.port()).ask(kGet).status, 200);
}

}  // namespace
}  // namespace penstock::http

#endif
