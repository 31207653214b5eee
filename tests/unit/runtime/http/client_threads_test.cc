#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <string>
#include <vector>

#include "tests/unit/runtime/http/client_fixture.h"

namespace penstock::http {
namespace {

using namespace std::chrono_literals;

// One client, used by many fibers of several scheduler threads at once.
class HttpClientOnThreads : public ClientTest, public ::testing::WithParamInterface<unsigned> {
 protected:
  HttpClientOnThreads() : ClientTest(GetParam()), server(*runtime, {.port = 0}) {
    server.route("POST", "/echo", [](const Request& r) { return Response::text(std::string(r.body())); });
    server.route("GET", "/slow/{n}", [](const Request& r) {
      sleep_for(5ms);
      return Response::text(std::string(r.param("n")));
    });
  }
  ~HttpClientOnThreads() override { runtime.stop(); }
  std::string url(const std::string& path) { return "http://" + server.address() + path; }
  // On each thread that many; waits for their end.
  void on_every_thread(int fibers, const std::function<void(unsigned, int)>& fn) {
    std::vector<Fiber> all;
    for (unsigned thread = 0; thread < runtime->threads(); ++thread) {
      for (int i = 0; i < fibers; ++i) {
        all.push_back(runtime->spawn_on(thread, "caller", [&fn, thread, i] { fn(thread, i); }));
      }
    }
    for (Fiber& fiber : all) fiber.join();
  }

  Server server;
};

TEST_P(HttpClientOnThreads, EachGetsItsOwnAnswer) {
  start();
  Client client(*runtime, {.max_connections = 7});
  std::atomic<int> right{0};
  on_every_thread(30, [&](unsigned thread, int i) {
    for (int call = 0; call < 10; ++call) {
      const std::string body = std::to_string(thread) + "/" + std::to_string(i) + "/" + std::to_string(call);
      if (call % 2 == 0) {
        right += client.post(url("/echo"), body).body == body;
      } else {
        ClientExchange exchange = client.open("POST", url("/echo"), {}, BodyLength::unknown());
        exchange.write(body);
        exchange.finish();
        right += read_all(exchange, 4) == body;
      }
    }
  });
  EXPECT_EQ(right, static_cast<int>(GetParam()) * 300);
  EXPECT_EQ(counted("ok"), GetParam() * 300);
}

TEST_P(HttpClientOnThreads, CallsThatAreCutOffHarmNoOther) {
  start();
  Client client(*runtime, {.max_connections = 5});
  std::atomic<int> right{0}, cut{0};
  on_every_thread(24, [&](unsigned, int i) {
    for (int call = 0; call < 6; ++call) {
      const std::string n = std::to_string(i * 100 + call);
      try {
        // Some leave before, in the middle of, and after their answer.
        const DeadlineScope scope(std::chrono::steady_clock::now() + (i % 3 == 0 ? 1ms * (call * 4) : 10s));
        EXPECT_EQ(client.get(url("/slow/" + n)).body, n);
        ++right;
      } catch (const DeadlineExceeded&) {
        ++cut;
      } catch (const Rejected& e) {
        EXPECT_EQ(e.reason(), RejectReason::deadline);
        ++cut;
      }
    }
  });
  EXPECT_EQ(right + cut, static_cast<int>(GetParam()) * 24 * 6);
  EXPECT_GE(right, static_cast<int>(GetParam()) * 16 * 6);
}

INSTANTIATE_TEST_SUITE_P(Threads, HttpClientOnThreads, ::testing::Values(1, 2, 4));

}  // namespace
}  // namespace penstock::http
