#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <string>
#include <vector>

#include "tests/unit/runtime/http/client_fixture.h"

namespace penstock::http {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

// Calls that wait for one of the connections that a client may have.
class HttpClientConnections : public ClientTest {
 protected:
  double waits() {
    return runtime->metrics().total("penstock_http_client_connection_waits_total", {{"upstream", "A"}});
  }
  // Waits, on a fiber.
  static void until(const std::function<bool()>& holds) {
    for (int i = 0; i < 10'000 && !holds(); ++i) sleep_for(1ms);
    EXPECT_TRUE(holds());
  }
  // An upstream that answers when it is let.
  RawServer::Script when_let() {
    return [this](RawSocket& socket, int) {
      while (!socket.read_until("\r\n\r\n").empty()) {
        ++asked;
        if (!eventually([this] { return let.load(); })) return;
        socket.send(ok("ok"));
      }
    };
  }

  std::atomic<int> asked{0};
  std::atomic<bool> let{false};
};

TEST_F(HttpClientConnections, AreNeverMoreThanTold) {
  start();
  std::atomic<int> open{0}, most{0};
  RawServer upstream([&](RawSocket& socket, int) {
    const int now = ++open;
    for (int seen = most; seen < now && !most.compare_exchange_weak(seen, now);) {
    }
    answer_all(socket, ok("ok"));
    --open;
  });
  Client client(*runtime, {.max_connections = 3});
  runtime.on_fiber([&] {
    std::vector<Fiber> calls;
    int answered = 0;
    for (int i = 0; i < 60; ++i) {
      calls.push_back(spawn("call", [&, i] {
        if (i % 2 == 0) {
          answered += client.get(upstream.url()).status == 200;
        } else {
          ClientExchange exchange = client.open("GET", upstream.url());
          answered += read_all(exchange) == "ok";
        }
      }));
    }
    for (Fiber& call : calls) call.join();
    EXPECT_EQ(answered, 60);
  });
  EXPECT_EQ(most, 3);
  EXPECT_EQ(upstream.accepted(), 3);
  EXPECT_EQ(waits(), 57);
}

TEST_F(HttpClientConnections, AreWaitedForInTurn) {
  start();
  RawServer upstream(when_let());
  Client client(*runtime, {.max_connections = 1});
  runtime.on_fiber([&] {
    std::vector<int> order;
    std::vector<Fiber> calls;
    for (int i = 0; i < 4; ++i) {
      calls.push_back(spawn("call", [&, i] {
        client.get(upstream.url());
        order.push_back(i);
      }));
    }
    until([&] { return asked == 1 && waits() == 3; });
    let = true;
    for (Fiber& call : calls) call.join();
    EXPECT_THAT(order, ElementsAre(0, 1, 2, 3));
  });
}

TEST_F(HttpClientConnections, AreWaitedForUntilTheDeadline) {
  start({.timeout = 500ms});
  RawServer upstream(when_let());
  Client client(*runtime, {.max_connections = 1});
  runtime.on_fiber([&] {
    Fiber holder = spawn("holder", [&] { EXPECT_THROW(client.get(upstream.url()), DeadlineExceeded); });
    until([&] { return asked == 1; });
    EXPECT_THAT(error_of<DeadlineExceeded>([&] {
                  const DeadlineScope soon(std::chrono::steady_clock::now() + 20ms);
                  client.get(upstream.url());
                }),
                HasSubstr("upstream A: "));
    EXPECT_FALSE(holder.done());
    holder.join();
    let = true;
    EXPECT_EQ(client.get(upstream.url()).body, "ok") << "the place is free again";
  });
  EXPECT_EQ(counted("timeout"), 2);
  EXPECT_EQ(upstream.accepted(), 2);
}

TEST_F(HttpClientConnections, AreNotWaitedForByWhoIsCancelled) {
  start();
  RawServer upstream(when_let());
  Client client(*runtime, {.max_connections = 1});
  runtime.on_fiber([&] {
    Fiber holder = spawn("holder", [&] { EXPECT_EQ(client.get(upstream.url()).body, "ok"); });
    Fiber leaves = spawn("leaves", [&] { EXPECT_THROW(client.get(upstream.url()), Cancelled); });
    Fiber stays = spawn("stays", [&] { EXPECT_EQ(client.get(upstream.url()).body, "ok"); });
    until([&] { return asked == 1 && waits() == 2; });
    leaves.cancel();
    leaves.join();
    let = true;
    holder.join();
    stays.join();
  });
  EXPECT_EQ(counted("cancelled"), 1);
  EXPECT_EQ(counted("ok"), 2);
}

// One that was just given a connection is cancelled in the same moment: its place is not lost.
TEST_F(HttpClientConnections, GoOnWhenTheNextIsCancelledAsItsTurnComes) {
  start();
  RawServer upstream(when_let());
  Client client(*runtime, {.max_connections = 1});
  runtime.on_fiber([&] {
    Fiber next;
    Fiber holder = spawn("holder", [&] {
      client.get(upstream.url());
      next.cancel();
    });
    next = spawn("next", [&] { EXPECT_THROW(client.get(upstream.url()), Cancelled); });
    until([&] { return asked == 1 && waits() == 1; });
    let = true;
    holder.join();
    next.join();
    EXPECT_EQ(client.get(upstream.url()).body, "ok");
  });
  EXPECT_EQ(stats().in_flight, 0);
}

TEST_F(HttpClientConnections, PassOnWhenOneFails) {
  start({.retry_budget = 0});
  RawServer upstream([&](RawSocket& socket, int number) {
    socket.read_until("\r\n\r\n");
    ++asked;
    if (number == 0 && eventually([&] { return let.load(); })) return;
    socket.send(ok("ok"));
    socket.read_to_end();
  });
  Client client(*runtime, {.max_connections = 1});
  runtime.on_fiber([&] {
    Fiber fails = spawn("fails", [&] { EXPECT_THROW(client.get(upstream.url()), CallError); });
    Fiber next = spawn("next", [&] { EXPECT_EQ(client.get(upstream.url()).body, "ok"); });
    until([&] { return asked == 1 && waits() == 1; });
    let = true;
    fails.join();
    next.join();
  });
}

TEST_F(HttpClientConnections, PassOnWhenAnExchangeIsLeft) {
  start();
  RawServer upstream([](RawSocket& socket, int) { answer_all(socket, ok("a long body")); });
  Client client(*runtime, {.max_connections = 1});
  runtime.on_fiber([&] {
    Fiber next;
    {
      ClientExchange exchange = client.open("GET", upstream.url());
      exchange.head();
      next = spawn("next", [&] { EXPECT_EQ(client.get(upstream.url()).body, "a long body"); });
      until([&] { return waits() == 1; });
      EXPECT_FALSE(next.join_for(20ms));
    }
    next.join();
  });
  EXPECT_EQ(upstream.accepted(), 2);
}

TEST_F(HttpClientConnections, OfOneHostAreNotThoseOfAnother) {
  start();
  RawServer upstream(when_let());
  RawServer other([](RawSocket& socket, int) { answer_all(socket, ok("ok")); });
  Client client(*runtime, {.max_connections = 1});
  runtime.on_fiber([&] {
    Fiber holder = spawn("holder", [&] { client.get(upstream.url()); });
    until([&] { return asked == 1; });
    EXPECT_EQ(client.get(other.url()).body, "ok");
    let = true;
    holder.join();
  });
}

// Calls that end in the middle take their connection with them.
TEST_F(HttpClientConnections, OfCancelledCallsAreClosed) {
  start();
  std::atomic<int> closed{0};
  RawServer upstream([&](RawSocket& socket, int number) {
    if (number > 0) return answer_all(socket, ok("ok"));
    socket.read_until("\r\n\r\n");
    ++asked;
    socket.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
    closed += socket.closed_by_peer();
    socket.send("other");
  });
  Client client(*runtime);
  runtime.on_fiber([&] {
    Fiber call = spawn("call", [&] { EXPECT_THROW(client.get(upstream.url()), Cancelled); });
    until([&] { return asked == 1; });
    call.cancel();
    call.join();
    EXPECT_EQ(client.get(upstream.url()).body, "ok");
  });
  EXPECT_TRUE(eventually([&] { return closed == 1; }));
  EXPECT_EQ(counted("cancelled"), 1);
  EXPECT_EQ(log.count("upstream=A"), 0u) << "nothing is wrong with it";
}

}  // namespace
}  // namespace penstock::http
