#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>
#include <string>
#include <string_view>

#include "tests/unit/runtime/http/raw_socket.h"
#include "tests/unit/runtime/http/running_runtime.h"

namespace penstock::http {
namespace {

using ::testing::HasSubstr;

class HttpRoutes : public ::testing::Test {
 protected:
  HttpRoutes() : server(*runtime, {.port = 0}) {}
  // Answers with the pattern and the parameter "id".
  void add(std::string_view method, std::string_view pattern) {
    server.route(method, pattern, [pattern = std::string(pattern)](const Request& request) {
      return Response::text(pattern + " " + std::string(request.param("id")));
    });
  }
  RawSocket::Answer ask(std::string_view method, std::string_view path) {
    RawSocket socket = RawSocket::connect(server.port());
    return socket.ask(std::string(method) + " " + std::string(path) + " HTTP/1.1\r\nHost: t\r\n\r\n");
  }

  RunningRuntime runtime{1};
  Server server;
};

TEST_F(HttpRoutes, OfSeveralThatMatchTheOneWithTheMethodCounts) {
  add("GET", "/orders/{id}");
  add("DELETE", "/orders/{order}");
  add("POST", "/orders/me");
  add("PATCH", "/orders/*");
  runtime.start();
  EXPECT_EQ(ask("GET", "/orders/7").body, "/orders/{id} 7");
  EXPECT_EQ(ask("DELETE", "/orders/7").body, "/orders/{order} ");
  EXPECT_EQ(ask("POST", "/orders/me").body, "/orders/me ");
  EXPECT_EQ(ask("GET", "/orders/me").body, "/orders/{id} me");
  EXPECT_EQ(ask("PATCH", "/orders/me").body, "/orders/* ");
  const auto refused = ask("PUT", "/orders/me");
  EXPECT_EQ(refused.status, 405);
  EXPECT_THAT(refused.head, HasSubstr("\r\nAllow: POST, GET, HEAD, DELETE, PATCH\r\n"));
}

TEST_F(HttpRoutes, EscapesOfOneCharacterAreTheCharacter) {
  add("GET", "/caf\xc3\xa9/{id}");
  add("GET", "/na%C3%AFve");
  add("GET", "/files/*");
  runtime.start();
  EXPECT_EQ(ask("GET", "/caf%C3%A9/a%2Fb").body, "/caf\xc3\xa9/{id} a/b");
  EXPECT_EQ(ask("GET", "/caf%c3%a9/1").body, "/caf\xc3\xa9/{id} 1");
  EXPECT_EQ(ask("GET", "/c%61f\xc3\xa9/1").body, "/caf\xc3\xa9/{id} 1");
  EXPECT_EQ(ask("GET", "/na%c3%afve").body, "/na%C3%AFve ");
  EXPECT_EQ(ask("GET", "/f%69les/x").body, "/files/* ");
  // A slash that is escaped separates nothing.
  EXPECT_EQ(ask("GET", "/files%2Fx").status, 404);
  EXPECT_EQ(ask("GET", "/files%252Fx").status, 404);
}

TEST_F(HttpRoutes, AreNotAddedWhileTheServerServes) {
  add("GET", "/a");
  runtime.start();
  EXPECT_EQ(ask("GET", "/a").status, 200);
  EXPECT_THROW(add("GET", "/b"), std::logic_error);
}

TEST_F(HttpRoutes, OfThePolicyAreNotEvadedByEscapes) {
  decision::Policy policy;
  policy.service = "test";
  policy.pools = {{.name = "default"}, {.name = "strict", .min = 1, .max = 1}};
  policy.routes = {{.match = "/files/private/*", .pool = "strict"}};
  runtime->apply_policy(policy);
  add("GET", "/files/*");
  runtime.start();
  EXPECT_EQ(ask("GET", "/files/private/1").status, 200);
  EXPECT_EQ(ask("GET", "/files/%70rivate/1").status, 200);
  std::uint64_t admitted = 0;
  for (const auto& pool : runtime->stats().pools) {
    if (pool.name == "strict") admitted = pool.admitted;
  }
  EXPECT_EQ(admitted, 2u);
}

}  // namespace
}  // namespace penstock::http
