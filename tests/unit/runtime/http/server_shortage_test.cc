#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "penstock/fiber.h"
#include "tests/unit/runtime/captured_log.h"
#include "tests/unit/runtime/http/raw_socket.h"
#include "tests/unit/runtime/http/running_runtime.h"
#include "tests/unit/runtime/http/witness.h"
#include "tests/unit/runtime/refused_calls.h"

namespace penstock::http {
namespace {

using ::testing::HasSubstr;

constexpr std::string_view kGet = "GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n";

// Stacks are kept for the next runtime that wants some of that size: none has wanted such yet.
std::size_t stack_bytes_of_nobody_else() {
  static std::size_t bytes = 128 * 1024;
  return bytes += 4096;
}

double accept_shortages(Runtime& runtime) {
  const std::string text = runtime.metrics().text();
  constexpr std::string_view kName = "penstock_socket_shortages_total{operation=\"accept\"} ";
  return std::stod(text.substr(text.find(kName) + kName.size()));
}

TEST(HttpShortage, OfDescriptorsDelaysNewConnectionsOnly) {
  for (const int error : {EMFILE, ENFILE}) {
    const CapturedLog log;
    RunningRuntime runtime(2);
    Server server(*runtime, {.port = 0});
    runtime.start();
    RawSocket kept = RawSocket::connect(server.port());
    ASSERT_EQ(kept.ask(kGet).status, 200);
    Witness witness(std::move(kept), "/healthz");
    const double before = accept_shortages(*runtime);
    std::optional<refused_calls::Refused> refused(std::in_place, refused_calls::accept, error);
    // In the backlog: the kernel has accepted it.
    RawSocket late = RawSocket::connect(server.port());
    ASSERT_TRUE(late.connected());
    ASSERT_TRUE(late.send(kGet));
    EXPECT_TRUE(eventually([&] {
      return log.has("cannot accept connections on " + server.address() + ": " + std::string(::strerror(error)));
    })) << log.text();
    EXPECT_GT(accept_shortages(*runtime), before);
    EXPECT_TRUE(witness.goes_on());
    refused.reset();
    EXPECT_EQ(late.read_answer().status, 200);
    EXPECT_EQ(RawSocket::connect(server.port()).ask(kGet).status, 200);
  }
}

TEST(HttpShortage, OfStacksIsToldToWhomeverGetsNone) {
  const CapturedLog log;
  RunningRuntime runtime({.service = "test", .threads = 1, .stack_bytes = stack_bytes_of_nobody_else()});
  Server server(*runtime, {.port = 0});
  std::atomic<bool> released{false};
  server.route("GET", "/held", [&](const Request&) {
    while (!released) sleep_for(std::chrono::milliseconds(2));
    return Response::text("done");
  });
  runtime.start();
  RawSocket lucky = RawSocket::connect(server.port());
  ASSERT_EQ(lucky.ask(kGet).status, 200);
  RawSocket silent = RawSocket::connect(server.port());
  {
    const refused_calls::Refused refused(refused_calls::guards, ENOMEM);
    // More than there are stacks.
    std::vector<RawSocket> held;
    for (int i = 0; i < 40; ++i) {
      held.push_back(RawSocket::connect(server.port()));
      ASSERT_TRUE(held.back().send("GET /held HTTP/1.1\r\nHost: t\r\n\r\n"));
    }
    EXPECT_TRUE(eventually([&] { return requests(*runtime, "other", "503") >= 30; }));
    EXPECT_TRUE(eventually([&] { return log.has("cannot guard a fiber stack: "); }));
    EXPECT_TRUE(eventually([&] { return log.has("no stack for fiber 'http 127.0.0.1:"); }));
    EXPECT_THAT(runtime->metrics().text(), HasSubstr("penstock_fibers_refused_total "));
    // The last came when all were taken.
    const auto answer = held.back().read_answer();
    EXPECT_EQ(answer.status, 503);
    EXPECT_THAT(answer.head, HasSubstr("Retry-After: 1\r\n"));
    EXPECT_TRUE(held.back().closed_by_peer());
    // Those that have a stack go on; the first one does.
    released = true;
    EXPECT_EQ(held.front().read_answer().body, "done");
    EXPECT_EQ(lucky.ask(kGet).status, 200);
  }
  EXPECT_EQ(lucky.ask(kGet).status, 200);
  EXPECT_EQ(silent.ask(kGet).status, 200) << "it had said nothing when there was no stack";
  EXPECT_EQ(RawSocket::connect(server.port()).ask(kGet).status, 200);
}

// Sanitizers reserve address space of their own, which a limit would take away from them.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

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

TEST(HttpShortage, AcceptsAgainAfterAShortageOfAddressSpace) {
  RunningRuntime runtime({.service = "test", .threads = 1, .stack_bytes = stack_bytes_of_nobody_else()});
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
    EXPECT_EQ(unlucky.ask(kGet).status, 503);
  }
  released = true;
  EXPECT_EQ(lucky.ask(kGet).status, 200);
  EXPECT_EQ(RawSocket::connect(server.port()).ask(kGet).status, 200);
}

#endif

}  // namespace
}  // namespace penstock::http
