#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <optional>
#include <string>

#include "tests/unit/runtime/http/raw_socket.h"
#include "tests/unit/runtime/http/running_runtime.h"

namespace penstock::http {
namespace {

using ::testing::HasSubstr;

constexpr std::string_view kGet = "GET /peer HTTP/1.1\r\nHost: t\r\n\r\n";

// A server behind a load balancer that speaks the PROXY protocol.
class HttpBehindProxy : public ::testing::Test {
 protected:
  HttpBehindProxy() {
    server.emplace(*runtime,
                   ServerOptions{.port = 0, .proxy_protocol = true, .header_timeout = std::chrono::milliseconds(200)});
    server->route("GET", "/peer", [](const Request& r) { return Response::text(std::string(r.peer())); });
    runtime.start();
  }
  double failures() { return runtime->metrics().counter("penstock_proxy_header_failures_total", "", {}).value(); }

  RunningRuntime runtime{1};
  std::optional<Server> server;
};

TEST_F(HttpBehindProxy, EveryRequestOfAConnectionHasTheClientsAddress) {
  RawSocket socket = RawSocket::connect(server->port());
  EXPECT_EQ(socket.ask("PROXY TCP4 203.0.113.7 127.0.0.1 56789 80\r\n" + std::string(kGet)).body, "203.0.113.7:56789");
  EXPECT_EQ(socket.ask(kGet).body, "203.0.113.7:56789");
  RawSocket six = RawSocket::connect(server->port());
  six.send("PROXY TCP6 2001:db8::7 ");
  six.send("::1 1 2\r\n");
  EXPECT_EQ(six.ask(kGet).body, "[2001:db8::7]:1");
}

TEST_F(HttpBehindProxy, TheProxysOwnConnectionsHaveItsAddress) {
  RawSocket socket = RawSocket::connect(server->port());
  EXPECT_THAT(socket.ask(std::string("\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", 16) + std::string(kGet)).body,
              HasSubstr("127.0.0.1:"));
}

TEST_F(HttpBehindProxy, AConnectionWithoutAHeaderGetsNoAnswer) {
  RawSocket plain = RawSocket::connect(server->port());
  EXPECT_EQ(plain.ask(kGet).status, 0);
  EXPECT_TRUE(eventually([&] { return failures() == 1; }));
  RawSocket silent = RawSocket::connect(server->port());
  RawSocket slow = RawSocket::connect(server->port());
  slow.send("PROXY TCP4 203.");
  EXPECT_EQ(silent.read_to_end(), "");
  EXPECT_EQ(slow.read_to_end(), "");
  EXPECT_TRUE(eventually([&] { return failures() == 3; }));
}

}  // namespace
}  // namespace penstock::http
