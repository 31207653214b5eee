#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <string>

#include "tests/unit/runtime/http/raw_socket.h"
#include "tests/unit/runtime/http/running_runtime.h"

namespace penstock::http {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

constexpr std::string_view kOk = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

Runtime::UpstreamStats stats_of(Runtime& runtime, std::string_view name) {
  for (auto& stats : runtime.stats().upstreams) {
    if (stats.name == name) return stats;
  }
  ADD_FAILURE() << "no upstream " << name;
  return {};
}

class HttpClientFailure : public ::testing::Test {
 protected:
  void use_policy(decision::UpstreamPolicy upstream) {
    upstream.name = "A";
    upstream.hosts = {"127.0.0.1"};
    decision::Policy policy;
    policy.service = "test";
    policy.pools = {{.name = "default"}};
    policy.upstreams = {upstream};
    runtime->apply_policy(policy);
  }

  RunningRuntime runtime{1};
};

struct Garbage {
  const char* name;
  std::string answer;
};
void PrintTo(const Garbage& garbage, std::ostream* out) { *out << garbage.name; }

class HttpGarbage : public ::testing::TestWithParam<Garbage> {};

TEST_P(HttpGarbage, IsAnErrorOfTheCallAndOfItsConnection) {
  RunningRuntime runtime(1);
  runtime.start();
  RawServer upstream([&](RawSocket& socket, int number) {
    socket.read_until("\r\n\r\n");
    socket.send(number == 0 ? std::string_view(GetParam().answer) : kOk);
    const bool cut_off = GetParam().name == std::string_view("Truncated") || GetParam().answer.empty();
    if (number == 0 && !cut_off) {
      EXPECT_TRUE(socket.closed_by_peer());
    }
  });
  Client client(*runtime, {.max_header_bytes = 1024, .max_body_bytes = 1000, .retries = 0});
  runtime.on_fiber([&] {
    EXPECT_THROW(client.get(upstream.url()), CallError);
    EXPECT_EQ(client.get(upstream.url()).body, "ok") << "on a connection of its own";
  });
  EXPECT_EQ(upstream.accepted(), 2);
}

INSTANTIATE_TEST_SUITE_P(
    Table, HttpGarbage,
    ::testing::Values(Garbage{"NotHttp", "SSH-2.0-OpenSSH_9.2\r\n\r\n"},
                      Garbage{"BadStatus", "HTTP/1.1 2x0 OK\r\n\r\n"},
                      Garbage{"BadLength", "HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n"},
                      Garbage{"BadChunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"},
                      Garbage{"HeaderTooLarge", "HTTP/1.1 200 OK\r\nX: " + std::string(5000, 'x') + "\r\n\r\n"},
                      Garbage{"BodyTooLarge",
                              "HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n" + std::string(1001, 'x')},
                      Garbage{"Upgrade", "HTTP/1.1 101 Switching Protocols\r\n\r\n"},
                      Garbage{"EndlessInterim",
                              [] {
                                std::string all;
                                for (int i = 0; i < 20; ++i) all += "HTTP/1.1 100 Continue\r\n\r\n";
                                return all;
                              }()},
                      Garbage{"Truncated", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"}, Garbage{"Nothing", ""}),
    [](const auto& info) { return std::string(info.param.name); });

TEST_F(HttpClientFailure, AnswerFollowedByMoreIsNotReused) {
  runtime.start();
  RawServer upstream([](RawSocket& socket, int) {
    socket.read_until("\r\n\r\n");
    socket.send(std::string(kOk) + std::string(kOk));
    socket.read_to_end();
  });
  {
    Client client(*runtime);
    runtime.on_fiber([&] {
      EXPECT_EQ(client.get(upstream.url()).body, "ok");
      EXPECT_EQ(client.get(upstream.url()).body, "ok");
    });
  }
  EXPECT_EQ(upstream.accepted(), 2);
}

TEST_F(HttpClientFailure, RetriesWhatIsIdempotentWithinTheBudget) {
  use_policy({.retry_budget = 1.0});
  runtime.start();
  std::atomic<int> failures{1};
  RawServer upstream([&](RawSocket& socket, int) {
    socket.read_until("\r\n\r\n");
    if (failures-- > 0) return;
    socket.send(kOk);
  });
  Client client(*runtime, {.max_idle = 0, .retries = 1});
  runtime.on_fiber([&] {
    EXPECT_EQ(client.get(upstream.url()).body, "ok");
    failures = 1;
    EXPECT_THROW(client.post(upstream.url(), "x"), CallError);
    failures = 2;
    EXPECT_THROW(client.get(upstream.url()), CallError);
  });
  const auto stats = stats_of(*runtime, "A");
  EXPECT_EQ(stats.attempts, 5u);
  EXPECT_EQ(stats.ok, 1u);
  EXPECT_EQ(stats.errors, 4u);
}

TEST_F(HttpClientFailure, RetriesNothingWithoutABudget) {
  use_policy({.retry_budget = 0.0});
  runtime.start();
  RawServer upstream([](RawSocket&, int) {});
  Client client(*runtime, {.retries = 3});
  EXPECT_THROW(runtime.on_fiber([&] { client.get(upstream.url()); }), CallError);
  EXPECT_EQ(stats_of(*runtime, "A").attempts, 1u);
}

TEST_F(HttpClientFailure, EndsAtTheUpstreamsTimeoutAndClosesItsConnection) {
  use_policy({.timeout = milliseconds(60)});
  runtime.start();
  std::atomic<int> closed{0};
  RawServer upstream([&](RawSocket& socket, int) {
    socket.read_until("\r\n\r\n");
    closed += socket.closed_by_peer();
  });
  Client client(*runtime);
  EXPECT_THROW(runtime.on_fiber([&] { client.get(upstream.url()); }), DeadlineExceeded);
  EXPECT_TRUE(eventually([&] { return closed == 1; }));
  EXPECT_EQ(stats_of(*runtime, "A").timeouts, 1u);
}

TEST_F(HttpClientFailure, SaysWhatWasRefused) {
  runtime.start();
  std::uint16_t port;
  {
    RawServer gone([](RawSocket&, int) {});
    port = static_cast<std::uint16_t>(std::stoi(gone.url("").substr(17)));
  }
  Client client(*runtime);
  runtime.on_fiber([&] {
    try {
      client.get("http://127.0.0.1:" + std::to_string(port) + "/");
      ADD_FAILURE() << "nobody listens";
    } catch (const CallError& e) {
      EXPECT_THAT(e.what(), HasSubstr("connect to 127.0.0.1:"));
    }
  });
}

TEST_F(HttpClientFailure, BreakersRefuseWithoutACall) {
  use_policy({});
  runtime.start();
  RawServer upstream([](RawSocket& socket, int) {
    socket.read_until("\r\n\r\n");
    socket.send(kOk);
  });
  Client client(*runtime, {.max_idle = 0});
  runtime->set_breaker("A", decision::BreakerForce::open, "test");
  EXPECT_THROW(runtime.on_fiber([&] { client.get(upstream.url()); }), Rejected);
  EXPECT_EQ(upstream.accepted(), 0);
  runtime->set_breaker("A", decision::BreakerForce::automatic, "test");
}

// The whole way: the client of our server leaves, and the third party that works for it sees its connection close.
TEST(HttpCancellation, ReachesTheThirdParty) {
  std::atomic<int> called{0};
  std::atomic<int> closed{0};
  RawServer third_party([&](RawSocket& socket, int) {
    socket.read_until("\r\n\r\n");
    ++called;
    closed += socket.closed_by_peer();
  });
  RunningRuntime runtime(2);
  decision::Policy policy;
  policy.service = "test";
  policy.pools = {{.name = "default"}};
  policy.upstreams = {{.name = "A", .hosts = {"127.0.0.1"}}};
  runtime->apply_policy(policy);
  Client client(*runtime);
  Server server(*runtime, {.port = 0});
  server.route("GET", "/buy", [&](const Request&) { return client.get(third_party.url("/pay")); });
  runtime.start();
  {
    RawSocket user = RawSocket::connect(server.port());
    user.send("GET /buy HTTP/1.1\r\nHost: t\r\n\r\n");
    ASSERT_TRUE(eventually([&] { return called == 1; }));
    EXPECT_EQ(closed, 0);
  }
  EXPECT_TRUE(eventually([&] { return closed == 1; }));
  EXPECT_TRUE(eventually([&] { return stats_of(*runtime, "A").cancelled == 1; }));
  EXPECT_EQ(stats_of(*runtime, "A").errors, 0u);
  EXPECT_TRUE(eventually([&] {
    return runtime->metrics()
               .counter("penstock_request_time_seconds_total", "",
                        {{"route", "/buy"}, {"phase", "waiting"}, {"upstream", "A"}})
               .value() > 0;
  }));
  runtime.stop();
}

}  // namespace
}  // namespace penstock::http
