#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <boost/asio/buffer.hpp>
#include <cctype>
#include <cerrno>
#include <chrono>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "penstock/fiber.h"
#include "penstock/sync.h"
#include "tests/unit/runtime/captured_log.h"
#include "tests/unit/runtime/http/raw_socket.h"
#include "tests/unit/runtime/http/running_runtime.h"
#include "tests/unit/runtime/http/witness.h"
#include "tests/unit/runtime/refused_calls.h"

// What gevent's own tests of its servers (test__server, test__pywsgi) check, and its users count on. Of its primitives:
// EveryWait (a timeout in every one of them) and SyncAcross (events and the others between threads).
namespace penstock::http {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

std::string get(std::string_view path, std::string_view more = "") {
  return "GET " + std::string(path) + " HTTP/1.1\r\nHost: t\r\n" + std::string(more) + "\r\n";
}

class HttpAsGevent : public ::testing::Test {
 protected:
  void serve(ServerOptions options = {}, RuntimeOptions of_runtime = {.service = "test", .threads = 1}) {
    runtime.emplace(std::move(of_runtime));
    options.port = 0;
    server.emplace(**runtime, options);
    server->route("GET", "/hello", [](const Request&) { return Response::text("hello"); });
    server->route("POST", "/echo", [](const Request& r) { return Response::text(std::string(r.body())); });
    server->route("GET", "/held", [this](const Request&) {
      ++held;
      released.wait();
      return Response::text("done");
    });
    server->route("GET", "/lines", [](Exchange& exchange) {
      exchange.start(200);
      for (const char* line : {"one\n", "two\n"}) {
        exchange.write(line);
        exchange.flush();
      }
    });
    server->route("GET", "/cut", [](Exchange& exchange) {
      exchange.start(200);
      exchange.write("part");
      exchange.flush();
      throw std::runtime_error("in the middle");
    });
    server->route("GET", "/upgrade", [](Exchange& exchange) {
      const auto stream = exchange.upgrade({{"Upgrade", "shout"}});
      char byte;
      boost::system::error_code ec;
      while (stream->read_some(boost::asio::buffer(&byte, 1), ec) == 1) {
        byte = static_cast<char>(std::toupper(static_cast<unsigned char>(byte)));
        stream->write_some(boost::asio::buffer(&byte, 1));
      }
    });
    server->route("GET", "/spawn/{how}", [](const Request& r) {
      Fiber part = spawn("part", [] { throw std::runtime_error("part of the work failed"); });
      if (r.param("how") == "joined") part.join();
      return Response::text("not told");
    });
    server->route("GET", "/spawn", [](const Request&) {
      Fiber part = spawn("part", [] {});
      part.join();
      return Response::text("spawned");
    });
    runtime->start();
  }
  RawSocket connect() { return RawSocket::connect(server->port()); }

  const CapturedLog log;
  std::atomic<int> held{0};
  Event released;
  std::optional<RunningRuntime> runtime;
  std::optional<Server> server;
};

TEST_F(HttpAsGevent, PoolFullStopsAcceptingAndGoesOnWhenThereIsRoom) {
  serve({.when_full = ServerOptions::WhenFull::stop_accepting});
  decision::Policy policy;
  policy.service = "test";
  policy.pools = {{.name = "default", .min = 2, .max = 2, .queue = {.max = 0}}};
  (*runtime)->apply_policy(policy);
  std::vector<RawSocket> holding;
  for (int i = 0; i < 2; ++i) {
    holding.push_back(connect());
    holding.back().send(get("/held"));
    ASSERT_TRUE(eventually([&] { return held == i + 1; }));
  }
  // The acceptor may have begun to wait for a connection before the pool was full.
  RawSocket first = connect();
  first.send(get("/held"));
  RawSocket second = connect();
  second.send(get("/held"));
  released.set();
  EXPECT_EQ(second.read_answer().body, "done") << "neither refused nor lost";
  for (RawSocket& socket : holding) EXPECT_EQ(socket.read_answer().body, "done");
}

TEST_F(HttpAsGevent, PoolFullRefusesWhereThatIsWanted) {
  serve();
  decision::Policy policy;
  policy.service = "test";
  policy.pools = {{.name = "default", .min = 1, .max = 1, .queue = {.max = 0}}};
  (*runtime)->apply_policy(policy);
  RawSocket holding = connect();
  holding.send(get("/held"));
  ASSERT_TRUE(eventually([&] { return held == 1; }));
  RawSocket refused = connect();
  EXPECT_EQ(refused.ask(get("/hello")).status, 503);
  released.set();
  EXPECT_EQ(holding.read_answer().body, "done");
  EXPECT_EQ(refused.ask(get("/hello")).status, 200);
}

TEST_F(HttpAsGevent, ServerClosesItsSocketsWhateverEndsThem) {
  serve();
  RawSocket asked = connect();
  EXPECT_EQ(asked.ask(get("/hello", "Connection: close\r\n")).status, 200);
  EXPECT_TRUE(asked.closed_by_peer());
  RawSocket failed = connect();
  failed.send(get("/cut"));
  EXPECT_THAT(failed.read_to_end(), HasSubstr("part"));
  RawSocket garbage = connect();
  EXPECT_EQ(garbage.ask("garbage\r\n\r\n").status, 400);
  EXPECT_TRUE(garbage.closed_by_peer());
  // And all that are open when it stops.
  RawSocket idle = connect();
  EXPECT_EQ(idle.ask(get("/hello")).status, 200);
  RawSocket silent = connect();
  RawSocket upgraded = connect();
  upgraded.send(get("/upgrade", "Connection: Upgrade\r\nUpgrade: shout\r\n"));
  EXPECT_THAT(upgraded.read_until("\r\n\r\n"), HasSubstr(" 101 "));
  std::thread stopping([&] { runtime->stop(); });
  EXPECT_TRUE(idle.closed_by_peer());
  silent.read_to_end();
  upgraded.shutdown_send();
  EXPECT_TRUE(upgraded.closed_by_peer());
  stopping.join();
  EXPECT_FALSE(connect().connected());
}

TEST_F(HttpAsGevent, ErrorInSpawnIsTheRequestsAndTheServerGoesOn) {
  serve();
  RawSocket socket = connect();
  EXPECT_EQ(socket.ask(get("/spawn/joined")).status, 500);
  EXPECT_TRUE(log.has("route /spawn/{how}: part of the work failed"));
  EXPECT_EQ(socket.ask(get("/spawn/alone")).body, "not told");
  EXPECT_TRUE(eventually([&] { return log.has("fiber 'part' ended by an exception: part of the work failed"); }));
  EXPECT_EQ(socket.ask(get("/hello")).status, 200);
}

TEST_F(HttpAsGevent, ErrorInSpawnForWantOfMemoryIsTheRequestsAndTheServerGoesOn) {
  // Stacks are kept for the next that wants some of that size: none has.
  static std::size_t stack_bytes = 256 * 1024;
  stack_bytes += 4096;
  serve({}, {.service = "test", .threads = 1, .stack_bytes = stack_bytes});
  RawSocket socket = connect();
  ASSERT_EQ(socket.ask(get("/spawn")).body, "spawned");
  {
    // Holders take what stacks there are; the last is left without.
    const refused_calls::Refused refused(refused_calls::guards, ENOMEM);
    std::vector<RawSocket> holding;
    while (held == static_cast<int>(holding.size())) {
      holding.push_back(connect());
      holding.back().send(get("/held"));
      if (!eventually(
              [&] { return held == static_cast<int>(holding.size()) || requests(**runtime, "other", "503") > 0; })) {
        break;
      }
    }
    EXPECT_EQ(holding.back().read_answer().status, 503);
    released.set();
    EXPECT_EQ(holding.front().read_answer().body, "done");
  }
  EXPECT_EQ(socket.ask(get("/spawn")).body, "spawned");
}

TEST_F(HttpAsGevent, PipeliningOfAllSortsIsAnsweredInOrder) {
  serve();
  const std::string all = get("/hello") + "POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\n\r\nabc" +
                          get("/nowhere") +
                          "POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nde\r\n0\r\n\r\n" +
                          "PUT /hello HTTP/1.1\r\nHost: t\r\n\r\n" + get("/spawn/joined") +
                          get("/hello", "Connection: close\r\n") + get("/hello");
  for (const std::size_t at_once : {all.size(), std::size_t{7}, std::size_t{1}}) {
    RawSocket socket = connect();
    for (std::size_t i = 0; i < all.size() && socket.send(all.substr(i, at_once)); i += at_once) {
    }
    EXPECT_EQ(socket.read_answer().body, "hello");
    EXPECT_EQ(socket.read_answer().body, "abc");
    EXPECT_EQ(socket.read_answer().status, 404);
    EXPECT_EQ(socket.read_answer().body, "de");
    EXPECT_EQ(socket.read_answer().status, 405);
    EXPECT_EQ(socket.read_answer().status, 500);
    EXPECT_EQ(socket.read_answer().body, "hello");
    EXPECT_TRUE(socket.closed_by_peer()) << "what comes after the last is not answered";
  }
}

TEST_F(HttpAsGevent, ChunkedRequestsAndAnswers) {
  serve();
  RawSocket socket = connect();
  const std::string chunked = "POST /echo HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n";
  EXPECT_EQ(socket.ask(chunked + "2\r\noh\r\n4\r\n hai\r\n0\r\n\r\n").body, "oh hai");
  EXPECT_EQ(socket.ask(chunked + "2;token=\"oh hi\"\r\noh\r\n0\r\nX-Trailer: t\r\n\r\n").body, "oh") << "an extension";
  for (const char c : chunked + "A\r\n0123456789\r\n0\r\n\r\n") ASSERT_TRUE(socket.send(std::string_view(&c, 1)));
  EXPECT_EQ(socket.read_answer().body, "0123456789") << "dribbled";
  socket.send(get("/lines"));
  EXPECT_THAT(socket.read_until("\r\n\r\n"), HasSubstr("Transfer-Encoding: chunked"));
  EXPECT_EQ(socket.read_until("0\r\n\r\n"), "4\r\none\n\r\n4\r\ntwo\n\r\n0\r\n\r\n");
  EXPECT_EQ(socket.ask(chunked + "X\r\noh\r\n0\r\n\r\n").status, 400);
  EXPECT_TRUE(socket.closed_by_peer());
}

TEST_F(HttpAsGevent, UpgradeGivesTheHandlerTheConnection) {
  serve();
  RawSocket socket = connect();
  socket.send(get("/upgrade", "Connection: keep-alive, Upgrade\r\nUpgrade: shout\r\n") + "early ");
  EXPECT_THAT(socket.read_until("\r\n\r\n"), HasSubstr("HTTP/1.1 101 Switching Protocols\r\n"));
  EXPECT_EQ(socket.read_until("EARLY "), "EARLY ");
  socket.send("bird");
  EXPECT_EQ(socket.read_until("BIRD"), "BIRD");
  socket.shutdown_send();
  EXPECT_TRUE(socket.closed_by_peer());
}

TEST_F(HttpAsGevent, LongUriIsRefusedWith414) {
  serve();
  RawSocket socket = connect();
  const auto answer = socket.ask(get("/" + std::string(20'000, 'x')));
  EXPECT_EQ(answer.status, 414);
  EXPECT_TRUE(socket.closed_by_peer());
  EXPECT_TRUE(eventually([&] { return requests(**runtime, "other", "414") == 1; }));
  EXPECT_EQ(connect().ask(get("/" + std::string(10'000, 'x'))).status, 404) << "not too long";
}

}  // namespace
}  // namespace penstock::http
