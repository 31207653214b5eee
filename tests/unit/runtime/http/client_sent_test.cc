#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <cstdlib>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "tests/unit/runtime/http/client_fixture.h"

namespace penstock::http {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;
using ::testing::Not;

constexpr std::string_view kTrace = "4bf92f3577b34da6a3ce929d0e0e4736";
constexpr std::string_view kSpan = "00f067aa0ba902b7";

// What an upstream is sent.
class HttpClientSends : public ClientTest {
 protected:
  std::string next() {
    const std::lock_guard lock(mutex_);
    EXPECT_FALSE(heads_.empty());
    if (heads_.empty()) return {};
    std::string head = std::move(heads_.front());
    heads_.erase(heads_.begin());
    return head;
  }
  static std::string field(const std::string& head, std::string_view name) {
    const std::string line = "\r\n" + std::string(name) + ": ";
    const auto at = head.find(line);
    if (at == head.npos) return {};
    EXPECT_EQ(head.find(line, at + 1), head.npos) << "twice: " << name;
    return head.substr(at + line.size(), head.find("\r\n", at + 2) - at - line.size());
  }

 private:
  std::mutex mutex_;
  std::vector<std::string> heads_;

 protected:
  RawServer upstream{[this](RawSocket& socket, int) {
    for (std::string head; !(head = socket.read_until("\r\n\r\n")).empty();) {
      {
        const std::lock_guard lock(mutex_);
        heads_.push_back(std::move(head));
      }
      socket.send(ok("ok"));
    }
  }};
};

TEST_F(HttpClientSends, TheTraceOfItsRequestWithASpanForEachCall) {
  use_policy({{}});
  {
    Client client(*runtime);
    Server server(*runtime, {.port = 0});
    server.route("GET", "/", [&](const Request&) {
      client.get(upstream.url());
      ClientExchange exchange = client.open("GET", upstream.url());
      read_all(exchange);
      spawn("part of the request", [&] { client.get(upstream.url()); }).join();
      client.get(upstream.url(), {{"Traceparent", "mine"}});
      return Response::text("ok");
    });
    runtime.start();
    RawSocket user = RawSocket::connect(server.port());
    const std::string begin = "GET / HTTP/1.1\r\nHost: t\r\n";
    EXPECT_EQ(
        user.ask(begin + "traceparent: 00-" + std::string(kTrace) + "-" + std::string(kSpan) + "-01\r\n\r\n").status,
        200);
    std::vector<std::string> spans{std::string(kSpan)};
    for (int i = 0; i < 3; ++i) {
      const std::string parent = field(next(), "traceparent");
      ASSERT_EQ(parent.size(), 55u) << parent;
      EXPECT_EQ(parent.substr(0, 36), "00-" + std::string(kTrace) + "-");
      EXPECT_EQ(parent.substr(52), "-01");
      EXPECT_THAT(spans, Not(::testing::Contains(parent.substr(36, 16)))) << "a span of its own";
      spans.push_back(parent.substr(36, 16));
    }
    const std::string own = next();
    EXPECT_EQ(field(own, "Traceparent"), "mine");
    EXPECT_EQ(field(own, "traceparent"), "");

    EXPECT_EQ(user.ask(begin + "\r\n").status, 200);
    EXPECT_EQ(field(next(), "traceparent"), "") << "of a request that has none";
    user.close();
    runtime.stop();
  }
}

TEST_F(HttpClientSends, WhatIsLeftOfTheDeadline) {
  start({.timeout = 5s});
  Client client(*runtime, {.forward_deadline = true});
  Client silent(*runtime);
  runtime.on_fiber([&] {
    const auto left = [&](const std::string& head) {
      const std::string value = field(head, "X-Request-Timeout");
      EXPECT_THAT(value, ::testing::EndsWith("ms"));
      return std::atoi(value.c_str());
    };
    client.get(upstream.url());
    int of_policy = left(next());
    EXPECT_GT(of_policy, 4'000);
    EXPECT_LE(of_policy, 5'000);
    {
      const DeadlineScope sooner(std::chrono::steady_clock::now() + 2s);
      ClientExchange exchange = client.open("GET", upstream.url());
      read_all(exchange);
    }
    const int of_fiber = left(next());
    EXPECT_GT(of_fiber, 1'000);
    EXPECT_LE(of_fiber, 2'000);
    client.get(upstream.url(), {{"x-request-timeout", "7s"}});
    const std::string own = next();
    EXPECT_EQ(field(own, "x-request-timeout"), "7s");
    EXPECT_EQ(field(own, "X-Request-Timeout"), "");
    silent.get(upstream.url());
    EXPECT_EQ(field(next(), "X-Request-Timeout"), "");
  });
}

TEST_F(HttpClientSends, ItsOwnFraming) {
  start();
  Client client(*runtime);
  runtime.on_fiber([&] {
    client.request(
        "DELETE", upstream.url("/a?b=c"), "",
        {{"content-length", "7"}, {"Transfer-Encoding", "chunked"}, {"Connection", "close"}, {"X-Mine", "1"}});
    const std::string head = next();
    EXPECT_THAT(head, ::testing::StartsWith("DELETE /a?b=c HTTP/1.1\r\n"));
    EXPECT_EQ(field(head, "X-Mine"), "1");
    EXPECT_EQ(field(head, "Host"), upstream.url("").substr(7));
    for (const char* name : {"content-length", "Content-Length", "Transfer-Encoding", "Connection"}) {
      EXPECT_EQ(field(head, name), "") << name;
    }
    client.post(upstream.url(), "");
    EXPECT_EQ(field(next(), "Content-Length"), "0");
    client.get("http://127.0.0.1:" + upstream.url("").substr(17) + "?q#part");
    EXPECT_THAT(next(), ::testing::StartsWith("GET /?q HTTP/1.1\r\n"));
  });
  EXPECT_EQ(upstream.accepted(), 1);
}

}  // namespace
}  // namespace penstock::http
