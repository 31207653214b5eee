#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <boost/asio/buffer.hpp>
#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>
#include <string>
#include <thread>

#include "penstock/fiber.h"
#include "tests/unit/runtime/http/raw_socket.h"
#include "tests/unit/runtime/http/running_runtime.h"

namespace penstock::http {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;
using ::testing::Not;

std::string get(std::string_view path, std::string_view more = "") {
  return "GET " + std::string(path) + " HTTP/1.1\r\nHost: test\r\n" + std::string(more) + "\r\n";
}
std::string post(std::string_view path, std::string_view more) {
  return "POST " + std::string(path) + " HTTP/1.1\r\nHost: test\r\n" + std::string(more);
}

// Handlers that take and give bodies in pieces.
class HttpExchange : public ::testing::Test {
 protected:
  HttpExchange() : server(*runtime, {.port = 0, .max_body_bytes = 1000}) {
    server.route("GET", "/hello", [](const Request&) { return Response::text("hello"); });
    server.route("POST", "/sum", [](Exchange& exchange) {
      std::size_t bytes = 0, pieces = 0;
      for (auto piece = exchange.read(); !piece.empty(); piece = exchange.read()) {
        bytes += piece.size();
        ++pieces;
      }
      std::string said = std::to_string(bytes);
      for (const auto& [name, value] : exchange.trailers()) said += " " + name + "=" + value;
      exchange.respond(Response::text(said));
    });
    server.route("GET", "/count", [](Exchange& exchange) {
      exchange.start(200, {{"Content-Type", "text/plain"}});
      for (int i = 0; i < 3; ++i) {
        exchange.write("line " + std::to_string(i) + "\n");
        exchange.flush();
      }
      exchange.finish({{"X-Lines", "3"}});
    });
    server.route("GET", "/sized", [](Exchange& exchange) {
      exchange.start(200, {}, 6);
      exchange.write("abc");
      exchange.write("def");
    });
  }
  RawSocket connect() { return RawSocket::connect(server.port()); }

  RunningRuntime runtime;
  Server server;
};

TEST_F(HttpExchange, ReadsBodiesOfEveryFramingAndTheirTrailers) {
  runtime.start();
  RawSocket socket = connect();
  EXPECT_EQ(socket.ask(post("/sum", "Content-Length: 5\r\n\r\nabcde")).body, "5");
  EXPECT_EQ(socket.ask(post("/sum", "Content-Length: 0\r\n\r\n")).body, "0");
  EXPECT_EQ(
      socket.ask(post("/sum", "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\nX-T: v\r\n\r\n")).body,
      "7 X-T=v");
  for (const char c : post("/sum", "Transfer-Encoding: chunked\r\n\r\n3;e=1\r\nabc\r\n0\r\n\r\n")) {
    ASSERT_TRUE(socket.send(std::string_view(&c, 1)));
  }
  EXPECT_EQ(socket.read_answer().body, "3");
  EXPECT_EQ(socket.ask(get("/hello")).body, "hello");
}

TEST_F(HttpExchange, BoundsBodiesUnlessTheHandlerTakesMore) {
  server.route("POST", "/large", [](Exchange& exchange) {
    exchange.limit_body(10'000'000);
    std::size_t bytes = 0;
    for (auto piece = exchange.read(); !piece.empty(); piece = exchange.read()) bytes += piece.size();
    exchange.respond(Response::text(std::to_string(bytes)));
  });
  runtime.start();
  EXPECT_EQ(connect().ask(post("/sum", "Content-Length: 1001\r\n\r\n" + std::string(1001, 'x'))).status, 413);
  EXPECT_EQ(
      connect()
          .ask(post("/sum", "Transfer-Encoding: chunked\r\n\r\n400\r\n" + std::string(1024, 'x') + "\r\n0\r\n\r\n"))
          .status,
      413);
  EXPECT_EQ(connect().ask(post("/sum", "Transfer-Encoding: chunked\r\n\r\nxyz\r\n")).status, 400);
  EXPECT_EQ(connect().ask(post("/large", "Content-Length: 5000000\r\n\r\n" + std::string(5'000'000, 'x'))).body,
            "5000000");
}

TEST_F(HttpExchange, HoldsUpAClientThatSendsFasterThanTheHandlerReads) {
  std::atomic<bool> released{false};
  server.route("POST", "/slow", [&](Exchange& exchange) {
    exchange.limit_body(1u << 30);
    while (!released) sleep_for(milliseconds(2));
    std::size_t bytes = 0;
    for (auto piece = exchange.read(); !piece.empty(); piece = exchange.read()) bytes += piece.size();
    exchange.respond(Response::text(std::to_string(bytes)));
  });
  runtime.start();
  constexpr std::size_t kSize = 64u << 20;
  RawSocket socket = connect();
  std::atomic<std::size_t> sent{0};
  std::thread sending([&] {
    socket.send(post("/slow", "Content-Length: " + std::to_string(kSize) + "\r\n\r\n"));
    const std::string block(1 << 20, 'x');
    while (sent < kSize && socket.send(block)) sent += block.size();
  });
  // What the kernel's buffers take, and no more.
  std::size_t before = 0;
  EXPECT_TRUE(eventually([&] {
    const std::size_t now = sent;
    if (now != before || now == 0) {
      before = now;
      std::this_thread::sleep_for(milliseconds(50));
      return false;
    }
    return true;
  }));
  EXPECT_LT(sent, kSize);
  released = true;
  sending.join();
  EXPECT_EQ(socket.read_answer().body, std::to_string(kSize));
}

TEST_F(HttpExchange, LetsTheClientContinueAtTheFirstRead) {
  server.route("POST", "/refused", [](Exchange&) { throw RequestError(403, "not you"); });
  runtime.start();
  RawSocket socket = connect();
  socket.send(post("/sum", "Content-Length: 3\r\nExpect: 100-continue\r\n\r\n"));
  EXPECT_EQ(socket.read_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  EXPECT_EQ(socket.ask("abc").body, "3");
  RawSocket refused = connect();
  const auto answer = refused.ask(post("/refused", "Content-Length: 3\r\nExpect: 100-continue\r\n\r\n"));
  EXPECT_EQ(answer.status, 403);
  EXPECT_THAT(answer.head, HasSubstr("Connection: close"));
}

TEST_F(HttpExchange, AnswersInPieces) {
  runtime.start();
  RawSocket socket = connect();
  socket.send(get("/count"));
  EXPECT_THAT(socket.read_until("\r\n\r\n"), HasSubstr("Transfer-Encoding: chunked"));
  EXPECT_EQ(socket.read_until("0\r\nX-Lines: 3\r\n\r\n"),
            "7\r\nline 0\n\r\n7\r\nline 1\n\r\n7\r\nline 2\n\r\n0\r\nX-Lines: 3\r\n\r\n");
  EXPECT_EQ(socket.ask(get("/sized")).body, "abcdef");
  socket.send("HEAD /count HTTP/1.1\r\nHost: t\r\n\r\n");
  EXPECT_THAT(socket.read_until("\r\n\r\n"), HasSubstr("Transfer-Encoding: chunked"));
  EXPECT_EQ(socket.ask(get("/hello")).body, "hello");

  RawSocket old = connect();
  old.send("GET /count HTTP/1.0\r\n\r\n");
  const std::string all = old.read_to_end();
  EXPECT_THAT(all, Not(HasSubstr("chunked")));
  EXPECT_TRUE(all.ends_with("\r\n\r\nline 0\nline 1\nline 2\n")) << all;
}

TEST_F(HttpExchange, AFailureAfterTheStartCutsTheAnswerShort) {
  server.route("GET", "/fails", [](Exchange& exchange) {
    exchange.start(200);
    exchange.write("part");
    exchange.flush();
    throw std::runtime_error("secret");
  });
  server.route("GET", "/short", [](Exchange& exchange) {
    exchange.start(200, {}, 10);
    exchange.write("abc");
  });
  server.route("GET", "/silent", [](Exchange&) {});
  runtime.start();
  for (const char* path : {"/fails", "/short"}) {
    RawSocket socket = connect();
    socket.send(get(path));
    const std::string all = socket.read_to_end();
    EXPECT_THAT(all, Not(HasSubstr("0\r\n\r\n"))) << path;
    EXPECT_THAT(all, Not(HasSubstr("secret"))) << path;
  }
  EXPECT_EQ(connect().ask(get("/silent")).status, 500);
  EXPECT_EQ(connect().ask(get("/hello")).status, 200);
}

TEST_F(HttpExchange, HandsTheConnectionOverForAnotherProtocol) {
  server.route("GET", "/echo", [](Exchange& exchange) {
    const auto stream = exchange.upgrade({{"Upgrade", "echo"}});
    char block[64];
    while (true) {
      boost::system::error_code ec;
      const std::size_t n = stream->read_some(boost::asio::buffer(block), ec);
      if (ec) return;
      stream->write_some(boost::asio::buffer(block, n));
    }
  });
  runtime.start();
  // Acceptors, keepers, the ticker.
  constexpr std::uint64_t kAtRest = 5;
  ASSERT_TRUE(eventually([&] { return runtime->stats().fibers == kAtRest; }));
  {
    RawSocket socket = connect();
    // The first words of the new protocol come with the request.
    socket.send(get("/echo", "Connection: Upgrade\r\nUpgrade: echo\r\n") + "ahead");
    const std::string head = socket.read_until("\r\n\r\n");
    EXPECT_THAT(head, HasSubstr("HTTP/1.1 101 Switching Protocols\r\n"));
    EXPECT_THAT(head, HasSubstr("Upgrade: echo\r\n"));
    EXPECT_EQ(socket.read_until("ahead"), "ahead");
    socket.send("more");
    EXPECT_EQ(socket.read_until("more"), "more");
  }
  EXPECT_TRUE(eventually([&] { return runtime->stats().fibers == kAtRest; }));
  // Who does not know the protocol that is asked for answers as always.
  EXPECT_EQ(connect().ask(get("/hello", "Connection: Upgrade\r\nUpgrade: h2c\r\n")).body, "hello");
}

TEST(HttpHandedOver, OutlivesItsServer) {
  RunningRuntime runtime(1);
  std::optional<Server> server;
  server.emplace(*runtime, ServerOptions{.port = 0, .header_timeout = milliseconds(40)});
  std::atomic<bool> go{false};
  std::atomic<bool> ended{false};
  server->route("GET", "/echo", [&](Exchange& exchange) {
    spawn("echo", [&, stream = std::shared_ptr(exchange.upgrade({{"Upgrade", "echo"}}))]() mutable {
      while (!go) sleep_for(milliseconds(1));
      std::array<char, 64> block;
      boost::system::error_code ec;
      const std::size_t n = stream->read_some(boost::asio::buffer(block), ec);
      stream->write_some(boost::asio::buffer(block, n), ec);
      stream.reset();
      ended = true;
    });
  });
  runtime.start();
  RawSocket socket = RawSocket::connect(server->port());
  socket.send(get("/echo", "Connection: Upgrade\r\nUpgrade: echo\r\n"));
  EXPECT_THAT(socket.read_until("\r\n\r\n"), HasSubstr("101"));
  server.reset();
  // The other protocol, and the ticker: nothing of the server is left.
  EXPECT_TRUE(eventually([&] { return runtime->stats().fibers == 2; }));
  go = true;
  socket.send("more");
  EXPECT_EQ(socket.read_until("more"), "more");
  EXPECT_TRUE(eventually([&] { return ended.load(); }));
}

TEST_F(HttpExchange, AnswersStaticContentWithoutCopies) {
  const auto page = std::make_shared<const std::string>(200'000, 'p');
  server.route("GET", "/page", [page](const Request&) { return Response::shared(page, "text/html"); });
  EXPECT_THROW(Response::shared(nullptr, "text/html"), std::invalid_argument);
  runtime.start();
  RawSocket socket = connect();
  for (int i = 0; i < 3; ++i) EXPECT_EQ(socket.ask(get("/page")).body, *page);
}

// What a request says of itself.
class HttpRequestContext : public HttpExchange {
 protected:
  HttpRequestContext() {
    server.route("GET", "/deadline", [](const Request&) {
      const Instant deadline = current_deadline();
      if (deadline == Instant::max()) return Response::text("none");
      const auto left = deadline - std::chrono::steady_clock::now();
      return Response::text(std::to_string(std::chrono::round<std::chrono::seconds>(left).count()));
    });
    server.route("GET", "/slow", [](const Request&) {
      sleep_for(std::chrono::seconds(30));
      return Response::text("late");
    });
    server.route("GET", "/trace",
                 [](const Request& r) { return Response::text("<" + std::string(r.trace_id()) + ">"); });
  }
};

TEST_F(HttpRequestContext, BringsItsDeadline) {
  decision::Policy policy;
  policy.service = "test";
  policy.pools = {{.name = "default"}};
  policy.routes = {{.match = "/*", .deadline = std::chrono::seconds(20)}};
  runtime->apply_policy(policy);
  runtime.start();
  RawSocket socket = connect();
  EXPECT_EQ(socket.ask(get("/deadline")).body, "20");
  EXPECT_EQ(socket.ask(get("/deadline", "X-Request-Timeout: 5\r\n")).body, "5");
  EXPECT_EQ(socket.ask(get("/deadline", "X-Request-Timeout: 9000ms\r\n")).body, "9");
  EXPECT_EQ(socket.ask(get("/deadline", "grpc-timeout: 7S\r\n")).body, "7");
  EXPECT_EQ(socket.ask(get("/deadline", "grpc-timeout: 7S\r\nX-Request-Timeout: 3s\r\n")).body, "3");
  EXPECT_EQ(socket.ask(get("/deadline", "X-Request-Timeout: 1m\r\n")).body, "20") << "the policy's is earlier";
  EXPECT_EQ(socket.ask(get("/slow", "X-Request-Timeout: 20ms\r\n")).status, 504);
  for (const char* bad : {"X-Request-Timeout: soon", "X-Request-Timeout: -1", "X-Request-Timeout: 0",
                          "X-Request-Timeout:", "grpc-timeout: 5", "grpc-timeout: 123456789S"}) {
    const auto answer = socket.ask(get("/deadline", std::string(bad) + "\r\n"));
    EXPECT_EQ(answer.status, 400) << bad;
    EXPECT_THAT(answer.body, HasSubstr(bad[0] == 'g' ? "grpc-timeout" : "X-Request-Timeout"));
  }
}

TEST_F(HttpRequestContext, BringsItsTrace) {
  runtime.start();
  RawSocket socket = connect();
  EXPECT_EQ(socket.ask(get("/trace", "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n")).body,
            "<4bf92f3577b34da6a3ce929d0e0e4736>");
  EXPECT_EQ(socket.ask(get("/trace", "traceparent: 00-xyz\r\n")).body, "<>");
  EXPECT_EQ(socket.ask(get("/trace")).body, "<>");
}

TEST(HttpAccessLog, TellsOfEachRequest) {
  RunningRuntime runtime(1);
  std::mutex mutex;
  std::vector<std::string> lines;
  Server server(*runtime, {.port = 0, .request_timeouts = false, .access_log = [&](const AccessRecord& r) {
                             const std::lock_guard lock(mutex);
                             log_access(r);
                             EXPECT_THAT(std::string(r.peer), HasSubstr("127.0.0.1:"));
                             EXPECT_GE(r.took, r.waiting);
                             lines.push_back(std::string(r.method) + " " + std::string(r.target) + " " +
                                             std::to_string(r.status) + " " + std::to_string(r.bytes) +
                                             (r.waiting >= milliseconds(20) ? " waited" : ""));
                           }});
  server.route("GET", "/wait", [](const Request&) {
    sleep_for(milliseconds(25));
    return Response::text("12345");
  });
  runtime.start();
  RawSocket socket = RawSocket::connect(server.port());
  socket.ask(get("/wait?x=1", "X-Request-Timeout: nonsense\r\n"));
  socket.ask(get("/none"));
  runtime.stop();
  EXPECT_THAT(lines, ::testing::ElementsAre("GET /wait?x=1 200 5 waited", "GET /none 404 10"));
}

}  // namespace
}  // namespace penstock::http
