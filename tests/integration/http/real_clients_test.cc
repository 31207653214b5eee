#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <thread>

#include "penstock/http.h"
#include "penstock/runtime.h"
#include "tests/integration/http/command.h"

namespace penstock::http {
namespace {

using ::testing::ContainsRegex;
using ::testing::HasSubstr;
using ::testing::Not;

// Programs that others wrote, against our server.
class HttpRealClient : public ::testing::Test {
 protected:
  HttpRealClient() : runtime({.service = "test", .threads = 2}), server(runtime, {.port = 0}) {
    server.route("GET", "/hello", [](const Request&) { return Response::text("Hello, world!\n"); });
    server.route("POST", "/length", [](const Request& r) { return Response::text(std::to_string(r.body().size())); });
    server.route("GET", "/large", [](const Request&) { return Response::text(std::string(3'000'000, 'x')); });
    thread = std::thread([this] { runtime.run(); });
  }
  ~HttpRealClient() override {
    runtime.stop();
    thread.join();
  }
  std::string url(const std::string& path) const { return "http://" + server.address() + path; }
  static void require(const char* program) {
    if (run_command(std::string("command -v ") + program).exit != 0) GTEST_SKIP() << program << " is not installed";
  }

  Runtime runtime;
  Server server;
  std::thread thread;
};

TEST_F(HttpRealClient, AbWithHttp10AndNoKeepAlive) {
  ASSERT_NO_FATAL_FAILURE(require("ab"));
  const Said said = run_command("ab -q -n 2000 -c 50 " + url("/hello"));
  EXPECT_EQ(said.exit, 0) << said.text;
  EXPECT_THAT(said.text, ContainsRegex("Complete requests: +2000"));
  EXPECT_THAT(said.text, ContainsRegex("Failed requests: +0"));
  EXPECT_THAT(said.text, Not(HasSubstr("Non-2xx")));
}

TEST_F(HttpRealClient, AbWithKeepAlive) {
  const Said said = run_command("ab -q -k -n 2000 -c 50 " + url("/hello"));
  EXPECT_EQ(said.exit, 0) << said.text;
  EXPECT_THAT(said.text, ContainsRegex("Failed requests: +0"));
  EXPECT_THAT(said.text, ContainsRegex("Keep-Alive requests: +2000"));
}

TEST_F(HttpRealClient, Wrk) {
  const Said said = run_command("wrk -t2 -c64 -d2s " + url("/hello"));
  EXPECT_EQ(said.exit, 0) << said.text;
  EXPECT_THAT(said.text, HasSubstr("Requests/sec"));
  EXPECT_THAT(said.text, Not(HasSubstr("Socket errors")));
  EXPECT_THAT(said.text, Not(HasSubstr("Non-2xx")));
}

TEST_F(HttpRealClient, H2loadWithHttp11AndPipelining) {
  for (const char* streams : {"1", "8"}) {
    const Said said = run_command(std::string("h2load --h1 -n 2000 -c 20 -m ") + streams + " " + url("/hello"));
    EXPECT_EQ(said.exit, 0) << said.text;
    EXPECT_THAT(said.text, HasSubstr("2000 succeeded, 0 failed, 0 errored, 0 timeout"));
  }
}

TEST_F(HttpRealClient, Curl) {
  Said said = run_command("curl -sf " + url("/hello") + " " + url("/hello"));
  EXPECT_EQ(said.exit, 0);
  EXPECT_EQ(said.text, "Hello, world!\nHello, world!\n");
  // Large enough for curl to ask first (Expect: 100-continue), of known and of unknown length.
  said = run_command("head -c 1000000 /dev/zero | curl -sf --data-binary @- " + url("/length"));
  EXPECT_EQ(said.text, "1000000");
  said = run_command(
      "head -c 1000000 /dev/zero | curl -sf -H 'Transfer-Encoding: chunked' -H 'Expect: 100-continue' "
      "--data-binary @- " +
      url("/length"));
  EXPECT_EQ(said.text, "1000000");
  said = run_command("head -c 2000000 /dev/zero | curl -s -o /dev/null -w '%{http_code}' --data-binary @- " +
                     url("/length"));
  EXPECT_THAT(said.text, HasSubstr("413"));
  said = run_command("curl -sf " + url("/large") + " | wc -c");
  EXPECT_THAT(said.text, HasSubstr("3000000"));
  said = run_command("curl -sfI " + url("/large"));
  EXPECT_THAT(said.text, HasSubstr("Content-Length: 3000000"));
  said = run_command("curl -s -o /dev/null -w '%{http_code}' -X DELETE " + url("/hello"));
  EXPECT_EQ(said.text, "405");
}

TEST_F(HttpRealClient, Promtool) {
  run_command("curl -s " + url("/hello") + " " + url("/nowhere"));
  const Said said = run_command("curl -s " + url("/metrics") + " | promtool check metrics");
  EXPECT_EQ(said.exit, 0) << said.text;
  EXPECT_EQ(said.text, "");
}

}  // namespace
}  // namespace penstock::http
