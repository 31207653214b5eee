#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

#include "tests/unit/runtime/http/raw_socket.h"
#include "tests/unit/runtime/http/running_runtime.h"

namespace penstock::http {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

std::string get(std::string_view path, std::string_view more = "") {
  return "GET " + std::string(path) + " HTTP/1.1\r\nHost: test\r\n" + std::string(more) + "\r\n";
}

class HttpServer : public ::testing::Test {
 protected:
  HttpServer() : server(*runtime, {.port = 0}) {
    server.route("GET", "/hello", [](const Request&) { return Response::text("hello"); });
    server.route("POST", "/echo", [](const Request& r) { return Response::text(std::string(r.body())); });
    server.route("GET", "/who/{name}", [](const Request& r) {
      return Response::text(std::string(r.param("name")) + "|" + r.query("q").value_or("none") + "|" +
                            std::string(r.header("x-kind")) + "|" + std::string(r.method()) + "|" +
                            std::string(r.path()));
    });
  }
  RawSocket connect() { return RawSocket::connect(server.port()); }

  RunningRuntime runtime;
  Server server;
};

TEST_F(HttpServer, ShowsTheRequestToItsHandler) {
  runtime.start();
  RawSocket socket = connect();
  const auto answer = socket.ask(get("/who/J%C3%B6rg?a=1&q=x%20y", "X-Kind:  special \r\n"));
  EXPECT_EQ(answer.status, 200);
  EXPECT_EQ(answer.body, "J\xc3\xb6rg|x y|special|GET|/who/J%C3%B6rg");
  EXPECT_EQ(socket.ask(get("http://other/who/a")).body, "a|none||GET|/who/a");
}

TEST_F(HttpServer, SaysNotFoundAndNotAllowed) {
  runtime.start();
  RawSocket socket = connect();
  EXPECT_EQ(socket.ask(get("/nowhere")).status, 404);
  const auto answer = socket.ask("PUT /hello HTTP/1.1\r\nHost: t\r\nContent-Length: 0\r\n\r\n");
  EXPECT_EQ(answer.status, 405);
  EXPECT_THAT(answer.head, HasSubstr("\r\nAllow: GET, HEAD\r\n"));
  EXPECT_EQ(socket.ask(get("/hello")).body, "hello") << "the connection goes on";
}

TEST_F(HttpServer, AnswersHeadWithoutABody) {
  runtime.start();
  RawSocket socket = connect();
  socket.send("HEAD /hello HTTP/1.1\r\nHost: t\r\n\r\n");
  const auto answer = socket.read_answer(true);
  EXPECT_EQ(answer.status, 200);
  EXPECT_THAT(answer.head, HasSubstr("Content-Length: 5\r\n"));
  EXPECT_EQ(socket.ask(get("/hello")).body, "hello");
}

TEST_F(HttpServer, SendsNoBodyWhereThereMayBeNone) {
  server.route("GET", "/status/{code}",
               [](const Request& r) { return Response::text("a body", std::stoi(std::string(r.param("code")))); });
  runtime.start();
  RawSocket socket = connect();
  for (const int status : {204, 205, 304}) {
    const auto answer = socket.ask(get("/status/" + std::to_string(status)));
    EXPECT_EQ(answer.status, status);
    EXPECT_EQ(answer.head.find("Content-Length: 0\r\n") != std::string::npos, status == 205) << answer.head;
    EXPECT_EQ(socket.ask(get("/hello")).body, "hello") << status;
  }
}

TEST_F(HttpServer, KeepsOrClosesAsTheClientAsks) {
  runtime.start();
  RawSocket old = connect();
  EXPECT_THAT(old.ask("GET /hello HTTP/1.0\r\n\r\n").head, HasSubstr("Connection: close"));
  EXPECT_TRUE(old.closed_by_peer());

  RawSocket old_keep = connect();
  EXPECT_THAT(old_keep.ask("GET /hello HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").head,
              HasSubstr("Connection: keep-alive"));
  EXPECT_EQ(old_keep.ask(get("/hello")).body, "hello");

  RawSocket closing = connect();
  EXPECT_THAT(closing.ask(get("/hello", "Connection: close\r\n")).head, HasSubstr("Connection: close"));
  EXPECT_TRUE(closing.closed_by_peer());

  RawSocket keeping = connect();
  EXPECT_THAT(keeping.ask(get("/hello")).head, Not(HasSubstr("Connection:")));
}

TEST_F(HttpServer, AnswersAHundredPipelinedRequestsInOrder) {
  runtime.start();
  RawSocket socket = connect();
  std::string all;
  for (int i = 0; i < 100; ++i) all += get("/who/" + std::to_string(i));
  ASSERT_TRUE(socket.send(all));
  for (int i = 0; i < 100; ++i) {
    const auto answer = socket.read_answer();
    ASSERT_EQ(answer.status, 200);
    ASSERT_TRUE(answer.body.starts_with(std::to_string(i) + "|")) << answer.body;
  }
}

TEST_F(HttpServer, ReadsBodiesOfEveryFraming) {
  runtime.start();
  RawSocket socket = connect();
  const std::string head = "POST /echo HTTP/1.1\r\nHost: t\r\n";
  EXPECT_EQ(socket.ask(head + "Content-Length: 3\r\n\r\nabc").body, "abc");
  EXPECT_EQ(socket.ask(head + "Content-Length: 0\r\n\r\n").body, "");
  EXPECT_EQ(
      socket
          .ask(head + "Transfer-Encoding: chunked\r\n\r\n3;ext=1\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nT: x\r\n\r\n")
          .body,
      "abc0123456789abcdef");
  // One byte at a time.
  for (const char c : head + "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n") {
    ASSERT_TRUE(socket.send(std::string_view(&c, 1)));
  }
  EXPECT_EQ(socket.read_answer().body, "abc");
  const std::string large(900'000, 'x');
  EXPECT_EQ(socket.ask(head + "Content-Length: 900000\r\n\r\n" + large).body, large);
}

TEST_F(HttpServer, LetsClientsContinue) {
  runtime.start();
  RawSocket socket = connect();
  socket.send("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
  EXPECT_EQ(socket.read_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  EXPECT_EQ(socket.ask("abc").body, "abc");

  RawSocket strange = connect();
  EXPECT_EQ(strange.ask("POST /echo HTTP/1.1\r\nHost: t\r\nContent-Length: 3\r\nExpect: more\r\n\r\n").status, 417);
}

TEST_F(HttpServer, TurnsExceptionsIntoAnswers) {
  const auto fails = [this](const char* path, auto error) {
    server.route("GET", path, [error](const Request&) -> Response { throw error; });
  };
  fails("/rejected", Rejected(RejectReason::breaker, std::chrono::milliseconds(2300), "breaker"));
  fails("/rejected_soon", Rejected(RejectReason::limit, Duration::zero(), "limit"));
  fails("/late", DeadlineExceeded("late"));
  fails("/call", CallError("refused"));
  fails("/broken", std::runtime_error("secret detail"));
  fails("/number", 42);
  server.route("GET", "/split", [](const Request&) { return Response{.headers = {{"X", "a\r\nSet-Cookie: b"}}}; });
  runtime.start();
  RawSocket socket = connect();
  auto answer = socket.ask(get("/rejected"));
  EXPECT_EQ(answer.status, 503);
  EXPECT_THAT(answer.head, HasSubstr("Retry-After: 3\r\n"));
  EXPECT_THAT(socket.ask(get("/rejected_soon")).head, HasSubstr("Retry-After: 1\r\n"));
  EXPECT_EQ(socket.ask(get("/late")).status, 504);
  EXPECT_EQ(socket.ask(get("/call")).status, 502);
  answer = socket.ask(get("/broken"));
  EXPECT_EQ(answer.status, 500);
  EXPECT_THAT(answer.body, Not(HasSubstr("secret")));
  EXPECT_EQ(socket.ask(get("/number")).status, 500);
  answer = socket.ask(get("/split"));
  EXPECT_EQ(answer.status, 500);
  EXPECT_THAT(answer.head, Not(HasSubstr("Set-Cookie")));
  const std::string metrics = runtime->metrics().text();
  EXPECT_THAT(
      metrics,
      HasSubstr("penstock_requests_rejected_total{priority=\"normal\",reason=\"breaker\",route=\"/rejected\"} 1"));
}

TEST_F(HttpServer, BoundsHandlersByTheDeadlineOfTheirRoute) {
  server.route("GET", "/slow", [](const Request&) {
    sleep_for(std::chrono::seconds(60));
    return Response::text("late");
  });
  decision::Policy policy;
  policy.service = "test";
  policy.pools = {{.name = "default"}};
  policy.routes = {{.match = "/slow", .deadline = std::chrono::milliseconds(30)}};
  runtime->apply_policy(policy);
  runtime.start();
  RawSocket socket = connect();
  EXPECT_EQ(socket.ask(get("/slow")).status, 504);
  EXPECT_EQ(socket.ask(get("/hello")).status, 200) << "the deadline was the request's, not the connection's";
}

TEST_F(HttpServer, RefusesWhatThePoolRefuses) {
  server.route("GET", "/held", [](const Request&) {
    sleep_for(std::chrono::seconds(60));
    return Response::text("never");
  });
  decision::Policy policy;
  policy.service = "test";
  policy.pools = {{.name = "one", .min = 1, .max = 1, .queue = {.max = 0}}, {.name = "default"}};
  policy.routes = {{.match = "/held", .pool = "one", .priority = Priority::low}};
  runtime->apply_policy(policy);
  runtime.start();
  RawSocket first = connect();
  first.send(get("/held"));
  ASSERT_TRUE(eventually([&] { return runtime->pool("one").in_flight() == 1; }));
  RawSocket second = connect();
  const auto answer = second.ask(get("/held"));
  EXPECT_EQ(answer.status, 503);
  EXPECT_THAT(answer.head, HasSubstr("Retry-After: "));
  EXPECT_EQ(second.ask(get("/hello")).status, 200) << "other pools go on";
  EXPECT_THAT(runtime->metrics().text(),
              HasSubstr("penstock_requests_rejected_total{priority=\"low\",reason=\"limit\",route=\"/held\"} 1"));
}

// A tenant floods a pool of one place; its requests wait for each other, another's goes next.
TEST_F(HttpServer, WhoFloodsAPoolWaitsForHisOwn) {
  std::vector<std::string> order;
  server.route("GET", "/held", [&](const Request& request) {
    order.emplace_back(request.header("X-Tenant"));
    sleep_for(std::chrono::milliseconds(20));
    return Response::text("done");
  });
  decision::Policy policy;
  policy.service = "test";
  policy.pools = {{.name = "one",
                   .min = 1,
                   .max = 1,
                   .queue = {.discipline = decision::QueueDiscipline::fifo, .max_wait = std::chrono::seconds(20)}},
                  {.name = "default"}};
  policy.routes = {{.match = "/held", .pool = "one"}};
  policy.tenants = {.header = "x-tenant", .named = {{"gold", 1}, {"acme", 1}}};
  runtime->apply_policy(policy);
  runtime.start();
  const auto ask_as = [](const std::string& tenant) {
    return "GET /held HTTP/1.1\r\nHost: test\r\nX-Tenant: " + tenant + "\r\n\r\n";
  };
  std::vector<RawSocket> flood;
  for (int i = 0; i < 10; ++i) {
    flood.push_back(connect());
    flood.back().send(ask_as("gold"));
  }
  ASSERT_TRUE(eventually([&] { return runtime->pool("one").queue_length() >= 8; }));
  RawSocket other = connect();
  EXPECT_EQ(other.ask(ask_as("acme")).status, 200);
  EXPECT_GT(runtime->pool("one").queue_length(), 2) << "the flood still waits";
  EXPECT_THAT(runtime->metrics().text(), HasSubstr("penstock_pool_tenant_waiting{pool=\"one\",tenant=\"gold\"}"));
  ASSERT_TRUE(eventually([&] { return runtime->pool("one").in_flight() == 0; }));
  EXPECT_EQ(order.size(), 11u);
}

TEST_F(HttpServer, CountsRequestsByRouteCodeAndPriority) {
  runtime.start();
  RawSocket socket = connect();
  for (int i = 0; i < 3; ++i) socket.ask(get("/who/" + std::to_string(i)));
  socket.ask(get("/unknown/1"));
  socket.ask(get("/unknown/2"));
  const auto answer = socket.ask(get("/metrics"));
  EXPECT_THAT(answer.head, HasSubstr("Content-Type: text/plain; version=0.0.4"));
  EXPECT_THAT(answer.body,
              HasSubstr("penstock_requests_total{code=\"200\",priority=\"normal\",route=\"/who/{name}\"} 3"));
  EXPECT_THAT(answer.body, HasSubstr("penstock_requests_total{code=\"404\",priority=\"normal\",route=\"other\"} 2"));
  EXPECT_THAT(answer.body, HasSubstr("penstock_request_duration_seconds_count{route=\"/who/{name}\"} 3"));
  EXPECT_THAT(answer.body, Not(HasSubstr("/unknown")));
  EXPECT_THAT(answer.body, Not(HasSubstr("route=\"/metrics\"")));
}

TEST_F(HttpServer, AccountsForTheTimeOfRequests) {
  server.route("GET", "/wait", [](const Request&) {
    sleep_for(std::chrono::milliseconds(100));
    return Response::text("ok");
  });
  server.route("GET", "/work", [](const Request&) {
    const auto until = std::chrono::steady_clock::now() + std::chrono::milliseconds(50);
    while (std::chrono::steady_clock::now() < until) {
    }
    return Response::text("ok");
  });
  runtime.start();
  RawSocket socket = connect();
  socket.ask(get("/wait"));
  socket.ask(get("/work"));
  socket.ask(get("/hello"));
  const auto seconds = [&](const char* route, const char* phase) {
    return runtime->metrics()
        .counter("penstock_request_time_seconds_total", "", {{"route", route}, {"phase", phase}, {"upstream", ""}})
        .value();
  };
  EXPECT_GE(seconds("/wait", "waiting"), 0.099);
  EXPECT_LT(seconds("/wait", "running"), 0.05);
  EXPECT_GE(seconds("/work", "running"), 0.049);
  EXPECT_LT(seconds("/work", "waiting"), 0.02);
}

TEST_F(HttpServer, SaysItsHealth) {
  runtime.start();
  RawSocket socket = connect();
  EXPECT_EQ(socket.ask(get("/healthz")).body, "ok\n");
  runtime->set_draining(true);
  const auto answer = socket.ask(get("/healthz"));
  EXPECT_EQ(answer.status, 503);
  EXPECT_EQ(answer.body, "draining\n");
  EXPECT_TRUE(socket.closed_by_peer()) << "its clients are to go elsewhere";
  runtime->set_draining(false);
  RawSocket again = connect();
  EXPECT_EQ(again.ask(get("/healthz")).status, 200);
}

TEST(HttpDebug, IsServedWhereItIsAskedFor) {
  RunningRuntime runtime(2);
  Server open(*runtime, {.port = 0, .serve_debug = true});
  Server closed(*runtime, {.port = 0});
  runtime.start();
  RawSocket socket = RawSocket::connect(open.port());
  auto fibers = socket.ask(get("/debug/fibers"));
  EXPECT_EQ(fibers.status, 200);
  // The other thread may not have come to its fibers yet, or be at its tick.
  EXPECT_TRUE(eventually([&] {
    fibers = socket.ask(get("/debug/fibers"));
    return fibers.body.find("'policy ticker' waiting") != std::string::npos;
  })) << fibers.body;
  EXPECT_THAT(socket.ask(get("/debug/fibers?format=json&limit=5")).body, HasSubstr("\"total\":"));
  EXPECT_EQ(socket.ask(get("/debug/fibers?limit=all")).status, 400);
  EXPECT_THAT(socket.ask(get("/debug/stats")).body, HasSubstr("\"pools\":[{\"name\":\"default\""));
  EXPECT_EQ(RawSocket::connect(closed.port()).ask(get("/debug/fibers")).status, 404);
}

TEST(HttpDebug, NamesTheRequestsInFlight) {
  RunningRuntime runtime(1);
  Server server(*runtime, {.port = 0, .serve_debug = true});
  server.route("GET", "/slow/*", [](const Request&) {
    sleep_for(std::chrono::seconds(60));
    return Response::text("late");
  });
  runtime.start();
  RawSocket slow = RawSocket::connect(server.port());
  slow.send(get("/slow/coach?card=4111"));
  RawSocket debug = RawSocket::connect(server.port());
  std::string fibers;
  EXPECT_TRUE(eventually([&] {
    fibers = debug.ask(get("/debug/fibers")).body;
    return fibers.find(" GET /slow/coach' waiting") != std::string::npos;
  })) << fibers;
  EXPECT_THAT(fibers, HasSubstr("for a sleep"));
  EXPECT_THAT(fibers, Not(HasSubstr("4111")));

  const std::string stats = debug.ask(get("/debug/stats")).body;
  EXPECT_THAT(stats, HasSubstr("\"listen_queue\":0,\"sockets\":[{\"name\":\"" + server.address() +
                               "\",\"queue\":0,\"max_queue\":"));
  EXPECT_THAT(stats, HasSubstr("\"harakiri_count\":0"));
  EXPECT_THAT(stats, HasSubstr("\"running_time_seconds\":"));
  slow.close();
}

TEST(HttpServerOptions, AreRefusedWhenTheyMakeNoSense) {
  RunningRuntime runtime(1);
  const auto refused = [&](auto change) {
    ServerOptions options{.port = 0};
    change(options);
    EXPECT_THROW(Server(*runtime, options), std::invalid_argument);
  };
  refused([](ServerOptions& o) { o.address = ""; });
  refused([](ServerOptions& o) { o.max_header_bytes = 0; });
  refused([](ServerOptions& o) { o.header_timeout = {}; });
  refused([](ServerOptions& o) { o.io_timeout = std::chrono::milliseconds(-1); });
  refused([](ServerOptions& o) { o.idle_timeout = {}; });
  refused([](ServerOptions& o) { o.max_connections = 0; });
}

TEST(HttpServerAddress, IsNotShared) {
  RunningRuntime runtime(2);
  const Server first(*runtime, {.port = 0});
  EXPECT_EQ(first.address(), "127.0.0.1:" + std::to_string(first.port()));
  EXPECT_THROW(Server(*runtime, {.port = first.port()}), std::runtime_error);
  EXPECT_THROW(Server(*runtime, {.address = "no.such.interface", .port = 0}), std::runtime_error);
}

}  // namespace
}  // namespace penstock::http
