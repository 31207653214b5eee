#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <stdexcept>
#include <string>
#include <vector>

#include "tests/unit/runtime/http/raw_socket.h"
#include "tests/unit/runtime/http/running_runtime.h"

namespace penstock::http {
namespace {

using ::testing::HasSubstr;

std::string answer(std::string_view body) {
  return "HTTP/1.1 200 OK\r\nContent-Length: " + std::to_string(body.size()) + "\r\n\r\n" + std::string(body);
}

// Our client with our server, in one runtime.
class HttpClient : public ::testing::Test {
 protected:
  HttpClient() : server(*runtime, {.port = 0}) {
    server.route("", "/echo", [](const Request& r) {
      Response response = Response::text(std::string(r.method()) + " " + std::string(r.body()));
      response.headers.emplace_back("X-Seen", std::string(r.header("X-Sent")) + "|" + std::string(r.header("Host")));
      return response;
    });
    server.route("GET", "/peer", [](const Request& r) { return Response::text(std::string(r.peer())); });
    server.route("GET", "/status/{code}",
                 [](const Request& r) { return Response::text("x", std::stoi(std::string(r.param("code")))); });
  }
  ~HttpClient() override { runtime.stop(); }
  std::string url(std::string_view path) { return "http://" + server.address() + std::string(path); }

  RunningRuntime runtime{1};
  Server server;
};

TEST_F(HttpClient, RefusesCallsThatNoFiberMakes) {
  Client client(*runtime);
  EXPECT_THROW(client.get(url("/echo")), std::logic_error);
  // Callbacks of the drain are called by run().
  bool refused = false;
  runtime->on_drain([&] {
    try {
      client.get(url("/echo"));
    } catch (const std::logic_error&) {
      refused = true;
    }
  });
  runtime.start();
  runtime.stop();
  EXPECT_TRUE(refused);
  EXPECT_THROW(client.get(url("/echo")), std::logic_error);
}

TEST_F(HttpClient, SendsAndReceives) {
  runtime.start();
  Client client(*runtime);
  runtime.on_fiber([&] {
    Response response = client.post(url("/echo"), "body", {{"X-Sent", "a"}, {"Content-Length", "99"}});
    EXPECT_EQ(response.status, 200);
    EXPECT_EQ(response.body, "POST body");
    EXPECT_EQ(response.header("x-seen"), "a|" + server.address());
    EXPECT_EQ(client.request("PUT", url("/echo"), "", {{"Host", "other"}}).header("X-Seen"), "|other");
    const std::string large(700'000, 'y');
    EXPECT_EQ(client.post(url("/echo"), large).body, "POST " + large);
    response = client.request("HEAD", url("/echo"), "", {});
    EXPECT_EQ(response.body, "");
    EXPECT_EQ(response.header("Content-Length"), "5");
    EXPECT_EQ(client.get(url("/status/204")).status, 204);
    EXPECT_EQ(client.get(url("/status/404")).status, 404);
    EXPECT_EQ(client.get(url("/status/500")).status, 500) << "returned, not thrown";
  });
}

TEST_F(HttpClient, ReusesItsConnection) {
  runtime.start();
  Client client(*runtime);
  runtime.on_fiber([&] {
    const std::string first = client.get(url("/peer")).body;
    for (int i = 0; i < 20; ++i) EXPECT_EQ(client.get(url("/peer")).body, first);
  });
  Client wasteful(*runtime, {.max_idle = 0});
  runtime.on_fiber([&] { EXPECT_NE(wasteful.get(url("/peer")).body, wasteful.get(url("/peer")).body); });
}

TEST_F(HttpClient, HoldsManyCallsAtOnce) {
  server.route("GET", "/slow", [](const Request&) {
    sleep_for(std::chrono::milliseconds(200));
    return Response::text("ok");
  });
  runtime.start();
  Client client(*runtime);
  const auto begun = std::chrono::steady_clock::now();
  runtime.on_fiber([&] {
    int answered = 0;
    std::vector<Fiber> fibers;
    for (int i = 0; i < 50; ++i) {
      fibers.push_back(spawn("call", [&] { answered += client.get(url("/slow")).status == 200; }));
    }
    for (Fiber& fiber : fibers) fiber.join();
    EXPECT_EQ(answered, 50);
  });
  EXPECT_LT(std::chrono::steady_clock::now() - begun, std::chrono::seconds(5)) << "one after the other takes 10 s";
}

TEST_F(HttpClient, CountsForItsUpstream) {
  decision::Policy policy;
  policy.service = "test";
  policy.pools = {{.name = "default"}};
  policy.upstreams = {{.name = "payments", .hosts = {server.address()}}};
  runtime->apply_policy(policy);
  runtime.start();
  Client client(*runtime);
  runtime.on_fiber([&] {
    client.get(url("/status/200"));
    client.get(url("/status/404"));
    client.get(url("/status/503"));
  });
  for (const auto& stats : runtime->stats().upstreams) {
    if (stats.name != "payments") continue;
    EXPECT_EQ(stats.attempts, 3u);
    EXPECT_EQ(stats.ok, 2u);
    EXPECT_EQ(stats.errors, 1u);
    EXPECT_EQ(stats.in_flight, 0);
  }
  EXPECT_THAT(runtime->metrics().text(),
              HasSubstr("penstock_upstream_requests_total{outcome=\"ok\",upstream=\"payments\"} 2"));
}

TEST_F(HttpClient, RefusesWhatCannotBeSent) {
  runtime.start();
  Client client(*runtime);
  runtime.on_fiber([&] {
    EXPECT_THROW(client.get("nowhere"), std::invalid_argument);
    EXPECT_THROW(client.get("ftp://h/"), std::invalid_argument);
    EXPECT_THROW(client.get(url("/echo"), {{"X", "a\r\nY: b"}}), std::invalid_argument);
    EXPECT_THROW(client.get(url("/echo"), {{"", "a"}}), std::invalid_argument);
    EXPECT_THROW(client.request("GE T", url("/echo"), "", {}), std::invalid_argument);
  });
  const auto refused = [&](ClientOptions options) { EXPECT_THROW(Client(*runtime, options), std::invalid_argument); };
  refused({.connect_timeout = std::chrono::milliseconds(0)});
  refused({.max_header_bytes = 1});
  refused({.max_idle = -1});
  refused({.idle_timeout = std::chrono::milliseconds(-5)});
  refused({.retries = -1});
  refused({.error_status = 0});
}

TEST(HttpClientAnswers, OfEveryFramingAreRead) {
  RunningRuntime runtime(1);
  runtime.start();
  RawServer upstream([](RawSocket& socket, int) {
    socket.read_until("\r\n\r\n");
    socket.send(
        "HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n");
    socket.send("abc\r\n4;x=y\r\ndefg\r\n0\r\n\r\n");
    socket.read_until("\r\n\r\n");
    socket.send("HTTP/1.1 304 Not Modified\r\nContent-Length: 17\r\n\r\n");
    socket.read_until("\r\n\r\n");
    socket.send("HTTP/1.0 200 OK\r\n\r\nuntil the end");
  });
  Client client(*runtime);
  runtime.on_fiber([&] {
    EXPECT_EQ(client.get(upstream.url()).body, "abcdefg");
    EXPECT_EQ(client.get(upstream.url()).status, 304);
    EXPECT_EQ(client.get(upstream.url()).body, "until the end");
  });
  EXPECT_EQ(upstream.accepted(), 1);
}

TEST(HttpClientIdle, AConnectionThatTheServerClosedIsReplaced) {
  RunningRuntime runtime(1);
  runtime.start();
  // Closes after each answer without having said so: at once, or when the next request comes.
  RawServer upstream([](RawSocket& socket, int number) {
    socket.read_until("\r\n\r\n");
    socket.send(answer(std::to_string(number)));
    if (number % 2 == 1) socket.read_until("\r\n\r\n");
  });
  Client client(*runtime, {.retries = 0});
  runtime.on_fiber([&] {
    for (int i = 0; i < 6; ++i) EXPECT_EQ(client.get(upstream.url()).body, std::to_string(i));
  });
}

TEST(HttpClientIdle, ConnectionsAreClosedInTime) {
  RunningRuntime runtime(1);
  runtime.start();
  std::atomic<int> closed{0};
  RawServer upstream([&](RawSocket& socket, int) {
    socket.read_until("\r\n\r\n");
    socket.send(answer("x"));
    closed += socket.closed_by_peer();
  });
  Client client(*runtime, {.idle_timeout = std::chrono::milliseconds(30)});
  runtime.on_fiber([&] { client.get(upstream.url()); });
  EXPECT_TRUE(eventually([&] { return closed == 1; }));
}

}  // namespace
}  // namespace penstock::http
