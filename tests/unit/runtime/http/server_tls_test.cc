#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <optional>
#include <string>
#include <string_view>

#include "penstock/fiber.h"
#include "runtime/net/connect.h"
#include "runtime/net/tls_context.h"
#include "runtime/net/tls_stream.h"
#include "tests/unit/runtime/captured_log.h"
#include "tests/unit/runtime/http/running_runtime.h"
#include "tests/unit/runtime/net/certificates.h"

namespace penstock::http {
namespace {

using namespace std::chrono_literals;
using boost::asio::buffer;
using boost::system::error_code;

// Clients that shake hands, and then send records byte by byte, of which no end comes.
class SlowTlsClient : public ::testing::Test {
 protected:
  void serve(ServerOptions options) {
    options.port = 0;
    options.tls = net::TlsServerOptions{.certificates = {certificates.make("localhost")}};
    server.emplace(*runtime, options);
    server->route("GET", "/hello", [](const Request&) { return Response::text("hello"); });
    runtime.start();
  }
  // How long the server bears it, after `first` was said and answered.
  Duration borne(std::string_view first) {
    return runtime.on_fiber([&] {
      net::TlsClientContext context({.ca_file = certificates.ca()});
      net::Socket socket = net::connect("localhost", server->port(), {.timeout = 5s});
      net::TlsStream tls(socket, context, "localhost");
      tls.handshake(5s);
      if (!first.empty()) boost::asio::write(tls, buffer(first));
      if (first.ends_with("\r\n\r\n")) {
        std::string answer(1000, '\0');
        tls.read_some(buffer(answer));
        EXPECT_TRUE(answer.starts_with("HTTP/1.1 200"));
      }
      const Instant begun = std::chrono::steady_clock::now();
      error_code ec;
      boost::asio::write(socket, buffer("\x17\x03\x03\x3f", 5), ec);
      while (!ec && std::chrono::steady_clock::now() - begun < 5s) {
        sleep_for(10ms);
        socket.write_some(buffer("x", 1), ec);
      }
      return Duration(std::chrono::steady_clock::now() - begun);
    });
  }

  CapturedLog log;
  net::Certificates certificates;
  RunningRuntime runtime;
  std::optional<Server> server;
};

TEST_F(SlowTlsClient, BeforeItsFirstRequestHasTheTimeForAHeader) {
  serve({.header_timeout = 100ms});
  EXPECT_LT(borne(""), 3s);
}

TEST_F(SlowTlsClient, InItsHeaderHasTheTimeForThat) {
  serve({.header_timeout = 100ms});
  EXPECT_LT(borne("GET /hello HT"), 3s);
  EXPECT_TRUE(log.has("408, the header took too long")) << log.text();
}

TEST_F(SlowTlsClient, BetweenRequestsIsIdle) {
  serve({.idle_timeout = 100ms});
  EXPECT_LT(borne("GET /hello HTTP/1.1\r\nHost: t\r\n\r\n"), 3s);
}

}  // namespace
}  // namespace penstock::http
