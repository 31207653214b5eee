#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <filesystem>
#include <string>
#include <thread>
#include <vector>

#include "penstock/debug.h"
#include "penstock/fiber.h"
#include "tests/unit/runtime/http/raw_socket.h"
#include "tests/unit/runtime/http/running_runtime.h"
#include "tests/unit/runtime/http/witness.h"

namespace penstock::http {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

constexpr std::string_view kGet = "GET /hello HTTP/1.1\r\nHost: t\r\n\r\n";

std::size_t open_descriptors() {
  const std::filesystem::directory_iterator all("/proc/self/fd");
  return static_cast<std::size_t>(std::distance(begin(all), end(all)));
}

class HttpManyConnections : public ::testing::Test {
 protected:
  void serve(ServerOptions options = {}, unsigned threads = 2, const std::string& method = "DELETE") {
    // Part of a header holds up a drain.
    runtime.emplace(threads, milliseconds(50));
    options.port = 0;
    server.emplace(**runtime, options);
    server->route("GET", "/hello", [](const Request&) { return Response::text("hello"); });
    server->route("GET", "/number/{n}", [](const Request& r) { return Response::text(std::string(r.param("n"))); });
    server->route("GET", "/held", [this](const Request&) {
      while (!released) sleep_for(milliseconds(2));
      return Response::text("done");
    });
    server->route("POST", "/size", [](const Request& r) { return Response::text(std::to_string(r.body().size())); });
    server->route(method, "/refusing", [](const Request&) { return Response::text("never"); });
    runtime->start();
    // Acceptors, keepers, the ticker.
    ASSERT_TRUE(eventually([&] { return fibers() == 2 * threads + 1; }));
  }
  std::uint64_t fibers() { return (*runtime)->stats().fibers; }
  RawSocket connect() { return RawSocket::connect(server->port()); }

  std::atomic<bool> released{false};
  std::optional<RunningRuntime> runtime;
  std::optional<Server> server;
};

TEST_F(HttpManyConnections, HoldNoFiberWhileTheyWait) {
  serve();
  const auto at_rest = fibers();
  std::vector<RawSocket> silent, idle, partial;
  for (int i = 0; i < 200; ++i) {
    silent.push_back(connect());
    idle.push_back(connect());
    ASSERT_EQ(idle.back().ask(kGet).status, 200);
    partial.push_back(connect());
    ASSERT_TRUE(partial.back().send(kGet.substr(0, kGet.size() - 2)));
  }
  EXPECT_TRUE(eventually([&] { return fibers() == at_rest; }));
  for (int i = 0; i < 200; ++i) {
    const auto n = static_cast<std::size_t>(i);
    ASSERT_EQ(idle[n].ask(kGet).body, "hello");
    ASSERT_EQ(silent[n].ask(kGet).body, "hello");
    ASSERT_EQ(partial[n].ask("\r\n").body, "hello");
  }
  EXPECT_TRUE(eventually([&] { return fibers() == at_rest; }));
}

TEST_F(HttpManyConnections, LeaveNothingBehind) {
  const auto before = open_descriptors();
  for (const unsigned threads : {1u, 2u, 4u, 8u}) {
    serve({}, threads);
    std::vector<RawSocket> clients;
    for (int i = 0; i < 50; ++i) {
      clients.push_back(connect());
      if (i % 3 == 1) clients.back().send(kGet);
      if (i % 3 == 2) clients.back().send(kGet.substr(0, 10));
    }
    runtime->stop();
    EXPECT_EQ(fibers(), 0u) << threads;
    clients.clear();
    server.reset();
    runtime.reset();
    EXPECT_EQ(open_descriptors(), before) << threads;
  }
}

TEST_F(HttpManyConnections, TenThousandPipelinedRequestsAreAnsweredInOrderWhileOthersAreServed) {
  serve({}, 1);
  RawSocket greedy = connect();
  std::string all;
  for (int i = 0; i < 10'000; ++i) all += "GET /number/" + std::to_string(i) + " HTTP/1.1\r\nHost: t\r\n\r\n";
  std::thread sending([&] { EXPECT_TRUE(greedy.send(all)); });
  std::thread other([&] {
    RawSocket socket = connect();
    for (int i = 0; i < 20; ++i) EXPECT_EQ(socket.ask(kGet).body, "hello");
  });
  for (int i = 0; i < 10'000; ++i) ASSERT_EQ(greedy.read_answer().body, std::to_string(i));
  sending.join();
  other.join();
  EXPECT_TRUE(eventually([&] { return requests(**runtime, "/number/{n}", "200") == 10'000; }));
}

TEST_F(HttpManyConnections, KeepTheNextRequestWhileAHandlerWaitsAndOthersSendTheirs) {
  serve({}, 1);
  const auto at_rest = fibers();
  for (const std::string& first : {std::string("GET /held HTTP/1.1\r\nHost: t\r\n\r\n"),
                                   std::string("GET /held HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc")}) {
    released = false;
    RawSocket held = connect();
    ASSERT_TRUE(held.send(first + "GET /number/1 HTTP/1.1\r\nHost: t\r\n\r\n"));
    ASSERT_TRUE(eventually([&] { return fibers() > at_rest; }));
    RawSocket other = connect();
    const std::string longer = "GET /number/2 HTTP/1.1\r\nHost: t\r\nX-Pad: " + std::string(400, 'x') + "\r\n\r\n";
    for (int i = 0; i < 3; ++i) EXPECT_EQ(other.ask(longer).body, "2");
    released = true;
    EXPECT_EQ(held.read_answer().body, "done");
    EXPECT_EQ(held.read_answer().body, "1");
    ASSERT_TRUE(eventually([&] { return fibers() == at_rest; }));
  }
}

TEST_F(HttpManyConnections, KeepTheNextRequestWhileAWriteWaitsAndOthersSendTheirs) {
  // Refused in many words before there is a handler: the first to wait is the write.
  serve({}, 1, std::string(4000, 'M'));
  const auto refused = [&] { return requests(**runtime, "/refusing", "405"); };
  const auto writes = [&] {
    const FiberDump dump = dump_fibers(**runtime);
    return std::any_of(dump.fibers.begin(), dump.fibers.end(),
                       [](const FiberInfo& fiber) { return fiber.waiting_for.starts_with("room to write"); });
  };
  constexpr int kTogether = 10;
  std::string some;
  for (int i = 0; i < kTogether; ++i) some += "GET /refusing HTTP/1.1\r\nHost: t\r\n\r\n";
  int behind = 0;
  while (behind == 0) {
    const double before = refused();
    RawSocket held = RawSocket::connect(server->port(), 4096);
    int sent = 0;
    do {
      ASSERT_TRUE(held.send(some));
      sent += kTogether;
      ASSERT_TRUE(eventually([&] { return refused() == before + sent || writes(); }));
    } while (!writes());
    // Those that were received with the one that is being answered.
    behind = sent - static_cast<int>(refused() - before) - 1;
    RawSocket other = connect();
    const std::string longer = "GET /number/2 HTTP/1.1\r\nHost: t\r\nX-Pad: " + std::string(1000, 'x') + "\r\n\r\n";
    for (int i = 0; i < 3; ++i) EXPECT_EQ(other.ask(longer).body, "2");
    EXPECT_TRUE(writes());
    for (int i = 0; i < sent; ++i) ASSERT_EQ(held.read_answer().status, 405) << i << " of " << sent;
  }
}

TEST_F(HttpManyConnections, AnswerClientsThatHaveShutDownTheirSendingSide) {
  serve({.cancel_on_disconnect = false});
  RawSocket socket = connect();
  ASSERT_TRUE(socket.send(kGet));
  socket.shutdown_send();
  EXPECT_EQ(socket.read_answer().body, "hello");
  EXPECT_TRUE(socket.closed_by_peer());
}

TEST_F(HttpManyConnections, SurviveResetsAtEveryStage) {
  serve();
  const auto at_rest = fibers();
  for (const std::string_view said :
       {std::string_view(), kGet.substr(0, 5), kGet,
        std::string_view("POST /size HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\nabc"),
        std::string_view("GET /held HTTP/1.1\r\nHost: t\r\n\r\n")}) {
    for (int i = 0; i < 20; ++i) {
      RawSocket socket = connect();
      socket.send(said);
      socket.reset();
    }
  }
  EXPECT_EQ(connect().ask(kGet).body, "hello");
  EXPECT_TRUE(eventually([&] { return fibers() == at_rest; }));
}

TEST_F(HttpManyConnections, RefuseAnEndlessHeaderEarly) {
  serve({.max_header_bytes = 4096});
  RawSocket socket = connect();
  ASSERT_TRUE(socket.send("GET / HTTP/1.1\r\nHost: t\r\n"));
  std::size_t sent = 0;
  const std::string line = "X-Filler: " + std::string(1000, 'x') + "\r\n";
  while (sent < (1u << 30) && socket.send(line)) sent += line.size();
  EXPECT_LT(sent, 64u << 20);
  EXPECT_EQ(connect().ask(kGet).status, 200);
}

TEST_F(HttpManyConnections, IgnoreAnEmptyLineBeforeARequest) {
  serve();
  RawSocket socket = connect();
  EXPECT_EQ(socket.ask("\r\n" + std::string(kGet)).body, "hello");
  EXPECT_EQ(socket.ask("\r\n\r\n" + std::string(kGet)).body, "hello");
}

TEST_F(HttpManyConnections, RefuseEmptyLinesWithoutEndWhileOthersAreServed) {
  serve({}, 1);
  std::string lines;
  while (lines.size() < 64 * 1024) lines += "\r\n";
  RawSocket flooding = connect();
  std::thread flood([&] {
    std::size_t sent = 0;
    while (sent < (256u << 20) && flooding.send(lines)) sent += lines.size();
    EXPECT_LT(sent, 64u << 20);
  });
  RawSocket other = connect();
  for (int i = 0; i < 20; ++i) EXPECT_EQ(other.ask(kGet).body, "hello");
  flood.join();

  // Each one is little, and keeps the connection from being idle.
  RawSocket dripping = connect();
  std::thread drip([&] {
    for (int i = 0; i < 100 && dripping.send("\r\n"); ++i) std::this_thread::sleep_for(milliseconds(2));
    dripping.shutdown_send();
  });
  EXPECT_EQ(dripping.read_answer().status, 400);
  drip.join();
}

TEST_F(HttpManyConnections, AreNotResetByWhatComesBehindTheLastRequest) {
  serve({}, 1);
  RawSocket socket = connect();
  socket.send("GET /held HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n");
  ASSERT_TRUE(eventually([&] { return (*runtime)->pool("default").in_flight() == 1; }));
  socket.send(kGet);
  released = true;
  EXPECT_EQ(socket.read_answer().body, "done");
  // A reset may take the answer with it.
  EXPECT_TRUE(socket.ended_by_peer());
}

TEST_F(HttpManyConnections, EndBodiesThatDrip) {
  serve({.body_timeout = milliseconds(100), .io_timeout = milliseconds(1000)});
  RawSocket socket = connect();
  socket.send("POST /size HTTP/1.1\r\nHost: t\r\nContent-Length: 1000\r\n\r\n");
  std::thread drip([&] {
    for (int i = 0; i < 100 && socket.send("x"); ++i) std::this_thread::sleep_for(milliseconds(10));
  });
  EXPECT_EQ(socket.read_answer().status, 408);
  drip.join();
}

TEST_F(HttpManyConnections, WaitInTheBacklogWhileThePoolIsFull) {
  serve({.when_full = ServerOptions::WhenFull::stop_accepting}, 1);
  decision::Policy policy;
  policy.service = "test";
  policy.pools = {{.name = "default", .min = 1, .max = 1, .queue = {.max = 0}}};
  (*runtime)->apply_policy(policy);
  RawSocket holding = connect();
  holding.send("GET /held HTTP/1.1\r\nHost: t\r\n\r\n");
  ASSERT_TRUE(eventually([&] { return (*runtime)->pool("default").in_flight() == 1; }));
  // The acceptor may have looked before the pool was full.
  RawSocket first = connect();
  std::atomic<int> answered{0};
  std::vector<std::thread> waiting;
  for (int i = 0; i < 3; ++i) {
    waiting.emplace_back([&] {
      RawSocket socket = connect();
      if (socket.ask("GET /hello HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n").status == 200) ++answered;
    });
  }
  released = true;
  EXPECT_EQ(holding.read_answer().body, "done");
  for (auto& thread : waiting) thread.join();
  EXPECT_EQ(answered, 3);
}

}  // namespace
}  // namespace penstock::http
