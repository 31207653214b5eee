#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "tests/unit/runtime/http/raw_socket.h"
#include "tests/unit/runtime/http/running_runtime.h"

namespace penstock::http {
namespace {

using ::testing::HasSubstr;

std::string post(std::size_t length) {
  return "POST /upload HTTP/1.1\r\nHost: t\r\nContent-Length: " + std::to_string(length) + "\r\n\r\n";
}

// A node that uses more memory than it may, with no request in flight.
class HttpWithoutMemory : public ::testing::Test {
 protected:
  HttpWithoutMemory() : server(*runtime, {.port = 0}) {
    decision::Policy policy;
    policy.service = "test";
    policy.pools = {{.name = "default"}};
    // Less than any process uses with what it touched here.
    policy.guards.memory_bytes = 16 << 20;
    used.assign(32 << 20, 'x');
    runtime->apply_policy(policy);
    server.route("POST", "/upload", [](const Request& r) { return Response::text(std::to_string(r.body().size())); });
    runtime.start();
  }
  double refused() { return runtime->metrics().total("penstock_door_refused_total", {{"guard", "memory"}}); }

  std::vector<char> used;
  RunningRuntime runtime{1};
  Server server;
};

TEST_F(HttpWithoutMemory, NoLargeBodyIsWaitedFor) {
  // The node looks at its memory a few times a second.
  std::this_thread::sleep_for(std::chrono::seconds(1));
  RawSocket large = RawSocket::connect(server.port());
  ASSERT_TRUE(large.send(post(900'000) + "a beginning"));
  const auto answer = large.read_answer();
  EXPECT_EQ(answer.status, 503);
  EXPECT_THAT(answer.head, HasSubstr("\r\nRetry-After: "));
  // One in chunks, as soon as it is large.
  RawSocket chunked = RawSocket::connect(server.port());
  chunked.send("POST /upload HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n8000\r\n" +
               std::string(0x8000, 'x') + "\r\n");
  EXPECT_EQ(chunked.read_answer().status, 503);
  // Small ones and what there is already need no more than any request.
  RawSocket small = RawSocket::connect(server.port());
  ASSERT_TRUE(small.send(post(5) + "ab"));
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_EQ(small.ask("cde").body, "5");
  EXPECT_EQ(refused(), 2);
}

}  // namespace
}  // namespace penstock::http
