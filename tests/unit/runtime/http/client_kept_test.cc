#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "tests/unit/runtime/http/client_fixture.h"

namespace penstock::http {
namespace {

using namespace std::chrono_literals;

// Connections that are kept between calls.
class HttpClientKept : public ClientTest {
 protected:
  double unasked() { return runtime->metrics().total("penstock_http_client_unasked_total", {{"upstream", "A"}}); }
};

struct Answer {
  const char* name;
  std::string text;
  bool kept;
  bool head = false;
};
void PrintTo(const Answer& answer, std::ostream* out) { *out << answer.name; }

class HttpClientKeptAfter : public HttpClientKept, public ::testing::WithParamInterface<Answer> {};

// Each of two calls, both ways of calling: on one connection or on two.
TEST_P(HttpClientKeptAfter, WholeAndInPieces) {
  start();
  const Answer& answer = GetParam();
  RawServer upstream([&](RawSocket& socket, int) {
    while (!socket.read_until("\r\n\r\n").empty()) {
      socket.send(answer.text);
      if (answer.text.find("Length") == std::string::npos && answer.text.find("chunked") == std::string::npos) return;
    }
  });
  const std::string method = answer.head ? "HEAD" : "GET";
  Client client(*runtime);
  runtime.on_fiber([&] {
    for (int i = 0; i < 2; ++i) EXPECT_EQ(client.request(method, upstream.url(), "", {}).status / 100 * 100 % 300, 200);
  });
  EXPECT_EQ(upstream.accepted(), answer.kept ? 1 : 2);
  Client other(*runtime);
  runtime.on_fiber([&] {
    for (int i = 0; i < 2; ++i) {
      ClientExchange exchange = other.open(method, upstream.url());
      exchange.head();
      read_all(exchange);
    }
  });
  EXPECT_EQ(upstream.accepted(), answer.kept ? 2 : 4);
}

INSTANTIATE_TEST_SUITE_P(
    Table, HttpClientKeptAfter,
    ::testing::Values(
        Answer{"Length", ok("body"), true},
        Answer{"Chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", true},
        Answer{"Close", ok("body", "Connection: close\r\n"), false},
        Answer{"CloseAmongOthers", ok("body", "Connection: x, Close\r\n"), false},
        Answer{"OldKept", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nx", true},
        Answer{"Old", "HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\nx", false},
        Answer{"UntilTheEnd", "HTTP/1.1 200 OK\r\n\r\nbody", false},
        Answer{"AnswerToHead", "HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", true, true},
        Answer{"ChunkedAnswerToHead", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", true, true},
        Answer{"BodyBehindAnAnswerToHead", ok("body"), false, true}),
    [](const auto& info) { return std::string(info.param.name); });

TEST_F(HttpClientKept, NoMoreThanTold) {
  start();
  std::atomic<int> asked{0}, closed{0};
  RawServer upstream([&](RawSocket& socket, int number) {
    while (!socket.read_until("\r\n\r\n").empty()) {
      const int round = ++asked;
      // The first five are answered when all of them are there.
      if (round <= 5 && !eventually([&] { return asked >= 5; })) return;
      socket.send(ok(std::to_string(number)));
    }
    ++closed;
  });
  Client client(*runtime, {.max_idle = 2});
  runtime.on_fiber([&] {
    std::vector<Fiber> calls;
    for (int i = 0; i < 5; ++i) calls.push_back(spawn("call", [&] { client.get(upstream.url()); }));
    for (Fiber& call : calls) call.join();
    EXPECT_EQ(upstream.accepted(), 5);
    client.get(upstream.url());
  });
  EXPECT_TRUE(eventually([&] { return closed == 3; }));
  EXPECT_EQ(upstream.accepted(), 5);
}

TEST_F(HttpClientKept, ClosedWithTheClientAtOnce) {
  start();
  std::atomic<int> closed{0};
  RawServer upstream([&](RawSocket& socket, int) {
    answer_all(socket, ok("ok"));
    ++closed;
  });
  Instant destroyed;
  {
    Client client(*runtime);
    runtime.on_fiber([&] { client.get(upstream.url()); });
    destroyed = std::chrono::steady_clock::now();
  }
  EXPECT_TRUE(eventually([&] { return closed == 1; }));
  EXPECT_LT(std::chrono::steady_clock::now() - destroyed, 500ms);
}

TEST_F(HttpClientKept, ClosedWhenTheRuntimeStops) {
  start();
  std::atomic<int> closed{0};
  RawServer upstream([&](RawSocket& socket, int) {
    answer_all(socket, ok("ok"));
    ++closed;
  });
  Client client(*runtime);
  runtime.on_fiber([&] { client.get(upstream.url()); });
  runtime.stop();
  EXPECT_TRUE(eventually([&] { return closed == 1; }));
}

// Closed by the server between two calls, so that it can be noticed before anything is sent.
TEST_F(HttpClientKept, ClosedWhileIdleIsReplacedForEveryMethod) {
  start({.retry_budget = 0});
  std::atomic<int> closed{0};
  RawServer upstream([&](RawSocket& socket, int number) {
    if (socket.read_until("\r\n\r\n").empty()) return;
    // The third has a body.
    if (number == 2) socket.read_until("0\r\n\r\n");
    socket.send(ok(std::to_string(number)));
    socket.close();
    ++closed;
  });
  Client client(*runtime, {.retries = 0});
  int calls = 0;
  const auto closed_again = [&] { return eventually([&] { return closed == calls; }); };
  runtime.on_fiber([&] {
    EXPECT_EQ(client.get(upstream.url()).body, std::to_string(calls++));
    ASSERT_TRUE(closed_again());
    EXPECT_EQ(client.post(upstream.url(), "").body, std::to_string(calls++));
    ASSERT_TRUE(closed_again());
    ClientExchange exchange = client.open("POST", upstream.url(), {}, BodyLength::unknown());
    exchange.finish();
    EXPECT_EQ(read_all(exchange), std::to_string(calls++));
  });
}

// Closed by the server when the next request has come, as if the two had crossed: only what does no harm is repeated.
TEST_F(HttpClientKept, ClosedUnderARequestIsReplacedOnlyWithoutHarm) {
  start({.retry_budget = 0});
  std::atomic<int> gets{0}, posts{0};
  RawServer upstream([&](RawSocket& socket, int) {
    for (int i = 0; i < 2; ++i) {
      const std::string head = socket.read_until("\r\n\r\n");
      if (head.empty()) return;
      ++(head.starts_with("POST") ? posts : gets);
      if (i == 0) socket.send(ok("ok"));
    }
  });
  Client client(*runtime, {.retries = 3});
  runtime.on_fiber([&] {
    EXPECT_EQ(client.get(upstream.url()).body, "ok");
    EXPECT_EQ(client.get(upstream.url()).body, "ok") << "the second is repeated on a second connection";
    EXPECT_EQ(gets, 3);
    EXPECT_THROW(client.post(upstream.url(), ""), CallError);
    EXPECT_EQ(posts, 1) << "it may have been done";
    EXPECT_EQ(client.post(upstream.url(), "").body, "ok");

    ClientExchange get = client.open("GET", upstream.url());
    EXPECT_EQ(read_all(get), "ok") << "as with a call in one piece";
    EXPECT_EQ(gets, 5);
    EXPECT_EQ(client.get(upstream.url()).body, "ok");
  });
  EXPECT_EQ(posts, 2);
}

// After the first byte of an answer nothing is repeated but by the rules for retries.
TEST_F(HttpClientKept, CutOffInItsAnswerIsNotReplaced) {
  start({.retry_budget = 0});
  std::atomic<int> requests{0};
  RawServer upstream([&](RawSocket& socket, int) {
    socket.read_until("\r\n\r\n");
    ++requests;
    socket.send(ok("ok"));
    if (socket.read_until("\r\n\r\n").empty()) return;
    ++requests;
    socket.send("HTTP/1.1 200 OK\r\nContent-Le");
  });
  Client client(*runtime, {.retries = 3});
  runtime.on_fiber([&] {
    client.get(upstream.url());
    EXPECT_THROW(client.get(upstream.url()), CallError);
    EXPECT_EQ(requests, 2);
  });
}

TEST_F(HttpClientKept, NothingIsReadThatWasSentBehindAnAnswer) {
  start();
  RawServer upstream([](RawSocket& socket, int) {
    socket.read_until("\r\n\r\n");
    socket.send(ok("mine") + ok("another's"));
    socket.read_to_end();
  });
  Client client(*runtime);
  runtime.on_fiber([&] {
    EXPECT_EQ(client.get(upstream.url()).body, "mine");
    ClientExchange exchange = client.open("GET", upstream.url());
    EXPECT_EQ(read_all(exchange, 4), "mine");
    EXPECT_EQ(client.get(upstream.url()).body, "mine");
  });
  EXPECT_EQ(upstream.accepted(), 3);
  EXPECT_EQ(unasked(), 3);
  EXPECT_EQ(log.count("unasked bytes upstream=A host=127.0.0.1:"), 1u) << "one a second";
  EXPECT_EQ(stats().ok, 3u);
}

// The thread is held, so that the reactor has not looked since; before that it may have looked or not.
TEST_F(HttpClientKept, NothingIsReadThatWasSentWhileIdle) {
  start();
  std::atomic<bool> more{false};
  RawServer upstream([&](RawSocket& socket, int number) {
    socket.read_until("\r\n\r\n");
    socket.send(ok("mine"));
    if (number % 2 == 0 && eventually([&] { return more.load(); })) {
      socket.send(ok("another's"));
      more = false;
    }
    socket.read_to_end();
  });
  for (const bool looked : {false, true}) {
    Client client(*runtime);
    runtime.on_fiber([&] {
      EXPECT_EQ(client.get(upstream.url()).body, "mine");
      if (looked) sleep_for(5ms);
      more = true;
      while (more) std::this_thread::yield();
      std::this_thread::sleep_for(2ms);
      EXPECT_EQ(client.get(upstream.url()).body, "mine");
    });
  }
  EXPECT_EQ(upstream.accepted(), 4);
  EXPECT_EQ(unasked(), 2);
}

// Found by the fiber that tends idle connections, without a call.
TEST_F(HttpClientKept, WhatIsSentWhileIdleIsToldWithoutACall) {
  start();
  RawServer upstream([&](RawSocket& socket, int) {
    socket.read_until("\r\n\r\n");
    socket.send(ok("mine"));
    eventually([&] { return stats().ok == 1; });
    socket.send("HTTP/1.1 408 Request Timeout\r\nConnection: close\r\n\r\n");
    EXPECT_TRUE(socket.closed_by_peer());
  });
  Client client(*runtime);
  runtime.on_fiber([&] { client.get(upstream.url()); });
  // The line is what comes last.
  EXPECT_TRUE(eventually([&] { return log.count("unasked bytes upstream=A") == 1; }));
  EXPECT_EQ(unasked(), 1);
}

// A connection goes from one call straight to the one that waits for it; what came in between belongs to neither.
TEST_F(HttpClientKept, NothingIsReadThatWasSentBetweenTwoCalls) {
  start();
  std::atomic<bool> more{false};
  RawServer upstream([&](RawSocket& socket, int number) {
    socket.read_until("\r\n\r\n");
    socket.send(ok("mine"));
    if (number == 0 && eventually([&] { return more.load(); })) {
      socket.send(ok("another's"));
      more = false;
    }
    socket.read_to_end();
  });
  Client client(*runtime, {.max_connections = 1});
  runtime.on_fiber([&] {
    Fiber second;
    Fiber first = spawn("first", [&] {
      EXPECT_EQ(client.get(upstream.url()).body, "mine");
      more = true;
      while (more) std::this_thread::yield();
      std::this_thread::sleep_for(2ms);
    });
    second = spawn("second", [&] { EXPECT_EQ(client.get(upstream.url()).body, "mine"); });
    first.join();
    second.join();
  });
  EXPECT_EQ(upstream.accepted(), 2);
  EXPECT_EQ(unasked(), 1);
}

// More connections are closed at once than the reactor is told of in one turn.
TEST_F(HttpClientKept, ManyClosedAtOnceAreAllNoticed) {
  start({.retry_budget = 0});
  constexpr int kMany = 300;
  std::atomic<int> holding{0};
  std::atomic<bool> close{false};
  RawServer upstream([&](RawSocket& socket, int) {
    if (socket.read_until("\r\n\r\n").empty()) return;
    ++holding;
    // All of them are there at once.
    if (!eventually([&] { return close || holding >= kMany; })) return;
    socket.send(ok("ok"));
    eventually([&] { return close.load(); });
    socket.close();
    --holding;
  });
  Client client(*runtime, {.retries = 0});
  const auto post_all = [&] {
    std::atomic<int> answered{0};
    std::vector<Fiber> calls;
    for (int i = 0; i < kMany; ++i) {
      calls.push_back(spawn("call", [&] { answered += client.post(upstream.url(), "").body == "ok"; }));
    }
    for (Fiber& call : calls) call.join();
    return answered.load();
  };
  runtime.on_fiber([&] {
    ASSERT_EQ(post_all(), kMany);
    close = true;
    while (holding > 0) std::this_thread::yield();
    std::this_thread::sleep_for(2ms);
    EXPECT_EQ(client.post(upstream.url(), "").body, "ok");
  });
  EXPECT_EQ(stats().errors, 0u);
}

}  // namespace
}  // namespace penstock::http
