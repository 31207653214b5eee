#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <optional>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "penstock/fiber.h"
#include "tests/unit/runtime/http/raw_socket.h"
#include "tests/unit/runtime/http/running_runtime.h"
#include "tests/unit/runtime/net/certificates.h"

namespace penstock::http {
namespace {

constexpr std::string_view kGet = "GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n";

// Keeps the only scheduler thread from looking at sockets, as a handler that computes does.
class HttpDrainOfABusyThread : public ::testing::Test {
 protected:
  void hold_thread() {
    runtime->spawn("hold", [this] {
      holding = true;
      while (!released) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    });
    ASSERT_TRUE(eventually([this] { return holding.load(); }));
  }
  void stop_and_release() {
    stopping = std::thread([this] { runtime.stop(); });
    ASSERT_TRUE(eventually([this] { return runtime->draining(); }));
    released = true;
  }
  ~HttpDrainOfABusyThread() override {
    if (stopping.joinable()) stopping.join();
  }

  std::atomic<bool> holding{false};
  std::atomic<bool> released{false};
  RunningRuntime runtime{1};
  Server server{*runtime, {.port = 0}};
  std::thread stopping;
};

TEST_F(HttpDrainOfABusyThread, AnswersRequestsThatHadComeOnNewConnections) {
  runtime.start();
  hold_thread();
  std::vector<RawSocket> clients;
  for (int i = 0; i < 20; ++i) {
    clients.push_back(RawSocket::connect(server.port()));
    ASSERT_TRUE(clients.back().send(kGet));
  }
  stop_and_release();
  // Told that the service drains, but told.
  for (RawSocket& client : clients) EXPECT_EQ(client.read_answer().status, 503);
}

TEST_F(HttpDrainOfABusyThread, AnswersRequestsThatHadComeOnKeptConnections) {
  runtime.start();
  std::vector<RawSocket> clients;
  for (int i = 0; i < 20; ++i) {
    clients.push_back(RawSocket::connect(server.port()));
    ASSERT_EQ(clients.back().ask(kGet).status, 200);
  }
  hold_thread();
  for (RawSocket& client : clients) ASSERT_TRUE(client.send(kGet));
  stop_and_release();
  for (RawSocket& client : clients) EXPECT_EQ(client.read_answer().status, 503);
}

TEST_F(HttpDrainOfABusyThread, DoesNotWaitForConnectionsThatSayNothing) {
  runtime.start();
  RawSocket silent = RawSocket::connect(server.port());
  RawSocket kept = RawSocket::connect(server.port());
  ASSERT_EQ(kept.ask(kGet).status, 200);
  const auto begun = std::chrono::steady_clock::now();
  runtime.stop();
  // Far below the grace period and the time that a header may take.
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(3));
  EXPECT_TRUE(silent.closed_by_peer());
  EXPECT_TRUE(kept.closed_by_peer());
}

// With a grace period of five seconds.
class HttpDrain : public ::testing::Test {
 protected:
  void serve(ServerOptions options) {
    options.port = 0;
    server.emplace(*runtime, std::move(options));
    runtime.start();
  }
  Duration time_to_stop() {
    const Instant begun = std::chrono::steady_clock::now();
    runtime.stop();
    return std::chrono::steady_clock::now() - begun;
  }

  RunningRuntime runtime{2};
  std::optional<Server> server;
};

TEST_F(HttpDrain, DoesNotWaitLongForTheRestOfAHeader) {
  serve({});
  RawSocket slow = RawSocket::connect(server->port());
  RawSocket kept = RawSocket::connect(server->port());
  ASSERT_TRUE(slow.send("GET /healthz HTT"));
  ASSERT_EQ(kept.ask(kGet).status, 200);
  ASSERT_TRUE(kept.send("G"));
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  EXPECT_LT(time_to_stop(), std::chrono::seconds(3));
  EXPECT_TRUE(slow.closed_by_peer());
}

TEST_F(HttpDrain, WaitsForTheRestOfAHeaderThatIsOnItsWay) {
  serve({});
  RawSocket client = RawSocket::connect(server->port());
  ASSERT_TRUE(client.send(kGet.substr(0, 10)));
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  std::thread stopping([this] { runtime.stop(); });
  ASSERT_TRUE(eventually([this] { return runtime->draining(); }));
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  EXPECT_TRUE(client.send(kGet.substr(10)));
  EXPECT_EQ(client.read_answer().status, 503);
  stopping.join();
}

TEST_F(HttpDrain, AServerThatIsDestroyedFinishesItsRequestsAndClosesItsConnections) {
  server.emplace(*runtime, ServerOptions{.port = 0});
  std::atomic<bool> held{false}, let{false};
  server->route("GET", "/held", [&](const Request&) {
    held = true;
    while (!let) sleep_for(std::chrono::milliseconds(1));
    return Response::text("held");
  });
  runtime.start();
  RawSocket idle = RawSocket::connect(server->port());
  ASSERT_EQ(idle.ask(kGet).status, 200);
  RawSocket silent = RawSocket::connect(server->port());
  RawSocket busy = RawSocket::connect(server->port());
  ASSERT_TRUE(busy.send("GET /held HTTP/1.1\r\nHost: t\r\n\r\n"));
  ASSERT_TRUE(eventually([&] { return held.load(); }));
  server.reset();
  EXPECT_TRUE(idle.closed_by_peer());
  silent.read_to_end();
  let = true;
  const auto answer = busy.read_answer();
  EXPECT_EQ(answer.body, "held");
  EXPECT_NE(answer.head.find("\r\nConnection: close\r\n"), std::string::npos) << answer.head;
  EXPECT_TRUE(busy.closed_by_peer());
}

TEST_F(HttpDrain, DoesNotWaitLongForHandshakes) {
  net::Certificates certificates;
  serve({.tls = net::TlsServerOptions{.certificates = {certificates.make("localhost")}}});
  std::vector<RawSocket> clients;
  for (int i = 0; i < 20; ++i) {
    clients.push_back(RawSocket::connect(server->port()));
    // A record of which no end comes.
    ASSERT_TRUE(clients.back().send(std::string_view("\x16\x03\x01\x02\x00\x01", 6)));
  }
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_LT(time_to_stop(), std::chrono::seconds(3));
}

}  // namespace
}  // namespace penstock::http
