#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <string>
#include <thread>

#include "tests/unit/runtime/http/raw_socket.h"
#include "tests/unit/runtime/http/running_runtime.h"

namespace penstock::http {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

constexpr std::string_view kGet = "GET /held HTTP/1.1\r\nHost: t\r\n\r\n";

double requests(Runtime& runtime, const char* route, const char* code) {
  return runtime.metrics()
      .counter("penstock_requests_total", "", {{"route", route}, {"code", code}, {"priority", "normal"}})
      .value();
}

TEST(HttpSlowClient, GetsAnAnswerWhenItsHeaderTakesTooLong) {
  RunningRuntime runtime(1);
  Server server(*runtime, {.port = 0, .header_timeout = milliseconds(80)});
  runtime.start();
  RawSocket dripping = RawSocket::connect(server.port());
  const auto begun = std::chrono::steady_clock::now();
  std::thread drip([&] {
    // Each byte within the time, the whole beyond it.
    for (int i = 0; i < 40 && dripping.send("G"); ++i) std::this_thread::sleep_for(milliseconds(10));
  });
  const auto answer = dripping.read_answer();
  EXPECT_EQ(answer.status, 408);
  EXPECT_GE(std::chrono::steady_clock::now() - begun, milliseconds(75));
  drip.join();

  RawSocket silent = RawSocket::connect(server.port());
  EXPECT_EQ(silent.read_answer().status, 408);
  EXPECT_TRUE(silent.closed_by_peer());
}

TEST(HttpSlowClient, IsLeftWhenItsBodyStalls) {
  RunningRuntime runtime(1);
  Server server(*runtime, {.port = 0, .io_timeout = milliseconds(50)});
  server.route("POST", "/x", [](const Request&) { return Response::text("never"); });
  runtime.start();
  RawSocket socket = RawSocket::connect(server.port());
  EXPECT_EQ(socket.ask("POST /x HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\nabc").status, 408);
  EXPECT_TRUE(socket.closed_by_peer());
}

TEST(HttpSlowClient, IsLeftWhenItDoesNotReadItsAnswer) {
  RunningRuntime runtime(1);
  Server server(*runtime, {.port = 0, .io_timeout = milliseconds(50)});
  server.route("GET", "/large", [](const Request&) { return Response::text(std::string(64 * 1024 * 1024, 'x')); });
  runtime.start();
  RawSocket socket = RawSocket::connect(server.port());
  socket.send("GET /large HTTP/1.1\r\nHost: t\r\n\r\n");
  // Counted when the server has given up on it.
  EXPECT_TRUE(eventually([&] { return requests(*runtime, "/large", "200") == 1; }));
  EXPECT_LT(socket.read_to_end().size(), 64u * 1024 * 1024);
}

TEST(HttpIdleConnection, IsClosedWithoutAWord) {
  RunningRuntime runtime(1);
  Server server(*runtime, {.port = 0, .idle_timeout = milliseconds(50)});
  runtime.start();
  RawSocket socket = RawSocket::connect(server.port());
  EXPECT_EQ(socket.ask("GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n").status, 200);
  EXPECT_TRUE(socket.closed_by_peer());
}

// A handler that waits until it is interrupted.
class HttpHeldRequest : public ::testing::Test {
 protected:
  void serve(ServerOptions options) {
    options.port = 0;
    server.emplace(*runtime, options);
    server->route("GET", "/held", [this](const Request&) {
      ++entered;
      try {
        const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(30);
        while (!released && std::chrono::steady_clock::now() < until) sleep_for(milliseconds(2));
      } catch (const Cancelled&) {
        ++cancelled;
        throw;
      }
      return Response::text("done");
    });
    runtime.start();
  }

  std::atomic<int> entered{0};
  std::atomic<int> cancelled{0};
  std::atomic<bool> released{false};
  RunningRuntime runtime{2, milliseconds(3000)};
  std::optional<Server> server;
};

TEST_F(HttpHeldRequest, IsCancelledWhenItsClientLeaves) {
  serve({});
  {
    RawSocket socket = RawSocket::connect(server->port());
    socket.send(kGet);
    ASSERT_TRUE(eventually([&] { return entered == 1; }));
  }
  EXPECT_TRUE(eventually([&] { return cancelled == 1; }));
  EXPECT_TRUE(eventually([&] { return requests(*runtime, "/held", "499") == 1; }));
  EXPECT_TRUE(eventually([&] { return runtime->pool("default").in_flight() == 0; }));
}

TEST_F(HttpHeldRequest, IsFinishedForNobodyWhenToldSo) {
  serve({.cancel_on_disconnect = false});
  {
    RawSocket socket = RawSocket::connect(server->port());
    socket.send(kGet);
    ASSERT_TRUE(eventually([&] { return entered == 1; }));
  }
  released = true;
  EXPECT_TRUE(eventually([&] { return requests(*runtime, "/held", "200") == 1; }));
  EXPECT_EQ(cancelled, 0);
}

TEST_F(HttpHeldRequest, IsFinishedByTheDrain) {
  serve({});
  RawSocket busy = RawSocket::connect(server->port());
  busy.send(kGet);
  RawSocket idle = RawSocket::connect(server->port());
  EXPECT_EQ(idle.ask("GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n").status, 200);
  ASSERT_TRUE(eventually([&] { return entered == 1; }));

  std::thread stopping([&] { runtime.stop(); });
  EXPECT_TRUE(idle.closed_by_peer());
  EXPECT_TRUE(eventually([&] { return !RawSocket::connect(server->port()).connected(); }));
  released = true;
  const auto answer = busy.read_answer();
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, "done");
  EXPECT_THAT(answer.head, HasSubstr("Connection: close"));
  EXPECT_TRUE(busy.closed_by_peer());
  stopping.join();
  EXPECT_EQ(cancelled, 0);
}

class HttpHeldTooLong : public HttpHeldRequest {
 protected:
  HttpHeldTooLong() : short_grace(1, milliseconds(50)) {}
  RunningRuntime short_grace;
};

TEST_F(HttpHeldTooLong, IsToldThatTheServerStops) {
  Server stopping(*short_grace, {.port = 0});
  stopping.route("GET", "/held", [this](const Request&) {
    ++entered;
    sleep_for(std::chrono::seconds(60));
    return Response::text("never");
  });
  short_grace.start();
  RawSocket socket = RawSocket::connect(stopping.port());
  socket.send(kGet);
  ASSERT_TRUE(eventually([&] { return entered == 1; }));
  std::thread stop([&] { short_grace.stop(); });
  const auto answer = socket.read_answer();
  EXPECT_EQ(answer.status, 503);
  EXPECT_THAT(answer.head, HasSubstr("Connection: close"));
  stop.join();
}

TEST_F(HttpHeldTooLong, WithTheRestOfItsBodyToComeDoesNotHoldUpTheEnd) {
  Server stopping(*short_grace, {.port = 0});
  stopping.route("POST", "/held", [this](Exchange&) {
    ++entered;
    sleep_for(std::chrono::seconds(60));
  });
  short_grace.start();
  RawSocket socket = RawSocket::connect(stopping.port());
  socket.send("POST /held HTTP/1.1\r\nHost: t\r\nContent-Length: 10\r\n\r\nabc");
  ASSERT_TRUE(eventually([&] { return entered == 1; }));
  std::atomic<bool> stopped{false};
  std::thread stop([&] {
    short_grace.stop();
    stopped = true;
  });
  EXPECT_EQ(socket.read_answer().status, 503);
  // While the client stays.
  EXPECT_TRUE(eventually([&] { return stopped.load(); }));
  socket.close();
  stop.join();
}

TEST(HttpConnections, AreBounded) {
  RunningRuntime runtime(2);
  Server server(*runtime, {.port = 0, .max_connections = 2});
  runtime.start();
  const std::string get = "GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n";
  std::vector<RawSocket> open;
  for (int i = 0; i < 2; ++i) {
    open.push_back(RawSocket::connect(server.port()));
    ASSERT_EQ(open.back().ask(get).status, 200);
  }
  std::atomic<int> answered{0};
  std::vector<std::thread> waiting;
  for (int i = 0; i < 3; ++i) {
    waiting.emplace_back([&] {
      RawSocket socket = RawSocket::connect(server.port());
      if (socket.ask(get).status == 200) ++answered;
    });
  }
  EXPECT_EQ(open[0].ask(get).status, 200);
  EXPECT_EQ(answered, 0);
  open.clear();
  for (auto& thread : waiting) thread.join();
  EXPECT_EQ(answered, 3);
}

TEST(HttpThreads, ShareThePort) {
  for (const unsigned threads : {1u, 2u, 4u, 8u}) {
    RunningRuntime runtime(threads);
    Server server(*runtime, {.port = 0});
    server.route("GET", "/", [](const Request&) { return Response::text("ok"); });
    runtime.start();
    std::atomic<int> answered{0};
    std::vector<std::thread> clients;
    for (int i = 0; i < 16; ++i) {
      clients.emplace_back([&] {
        RawSocket socket = RawSocket::connect(server.port());
        for (int j = 0; j < 20; ++j) answered += socket.ask("GET / HTTP/1.1\r\nHost: t\r\n\r\n").status == 200;
      });
    }
    for (auto& client : clients) client.join();
    EXPECT_EQ(answered, 320) << threads;
    runtime.stop();
    EXPECT_EQ(requests(*runtime, "/", "200"), 320) << threads;
    EXPECT_EQ(runtime->stats().fibers, 0u) << threads;
  }
}

}  // namespace
}  // namespace penstock::http
