#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <new>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>

#include "penstock/fiber.h"
#include "penstock/sync.h"
#include "tests/unit/runtime/captured_log.h"
#include "tests/unit/runtime/http/raw_socket.h"
#include "tests/unit/runtime/http/running_runtime.h"
#include "tests/unit/runtime/http/witness.h"

namespace penstock::http {

[[gnu::noinline]] void blocks_its_thread(std::chrono::milliseconds d) {
  ::usleep(static_cast<useconds_t>(d.count() * 1000));
  asm volatile("");
}

[[gnu::noinline]] void computes_until(const std::atomic<bool>& stop) {
  while (!stop) {
  }
  asm volatile("");
}

[[gnu::noinline]] int recurses_in_a_handler(int depth) {
  volatile char large[512] = {static_cast<char>(depth)};
  if (depth < 0) return 0;
  return recurses_in_a_handler(depth + 1) + large[0];
}

namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;
using ::testing::Not;

std::string get(std::string_view path) { return "GET " + std::string(path) + " HTTP/1.1\r\nHost: t\r\n\r\n"; }

std::string this_thread() { return std::to_string(std::hash<std::thread::id>()(std::this_thread::get_id())); }

// Handlers that go wrong, and what others notice of it.
class HttpBadHandler : public ::testing::Test {
 protected:
  HttpBadHandler() : runtime({.service = "test", .threads = 2, .blocked_after = milliseconds(50)}) {}

  void serve() {
    server.emplace(*runtime, ServerOptions{.port = 0});
    server->route("GET", "/hello", [](const Request&) { return Response::text(this_thread()); });
    server->route("GET", "/throws", [](const Request&) -> Response { throw std::runtime_error("the till is empty"); });
    server->route("GET", "/number", [](const Request&) -> Response { throw 42; });
    server->route("GET", "/memory", [](const Request&) -> Response { throw std::bad_alloc(); });
    server->route("GET", "/repeats", [](const Request& r) -> Response {
      throw std::runtime_error("no order " + r.query("it").value_or(""));
    });
    server->route("GET", "/blocks", [](const Request&) {
      blocks_its_thread(milliseconds(500));
      return Response::text("at last");
    });
    server->route("GET", "/computes", [this](const Request&) {
      computing = true;
      computes_until(stop);
      return Response::text("at last");
    });
    server->route("GET", "/never", [](const Request&) {
      Event event;
      event.wait();
      return Response::text("never");
    });
    runtime.start();
  }
  void bound(const char* route, milliseconds deadline) {
    decision::Policy policy;
    policy.service = "test";
    policy.pools = {{.name = "default"}};
    policy.routes = {{.match = route, .deadline = deadline}};
    runtime->apply_policy(policy);
  }
  RawSocket connect() { return RawSocket::connect(server->port()); }
  // One that is served by the thread of the other one, or by another thread.
  RawSocket connect_beside(RawSocket& other, bool same_thread) {
    const std::string thread = other.ask(get("/hello")).body;
    while (true) {
      RawSocket socket = connect();
      if ((socket.ask(get("/hello")).body == thread) == same_thread) return socket;
    }
  }
  double counter(const char* name) { return runtime->metrics().counter(name, "").value(); }

  const CapturedLog log;
  std::atomic<bool> computing{false};
  std::atomic<bool> stop{false};
  RunningRuntime runtime;
  std::optional<Server> server;
};

TEST_F(HttpBadHandler, ThatThrowsIsAnswered500AndTheConnectionGoesOn) {
  serve();
  RawSocket socket = connect();
  const Witness witness(connect(), "/hello");
  for (const char* path : {"/throws", "/number", "/memory"}) {
    const auto answer = socket.ask(get(path));
    EXPECT_EQ(answer.status, 500) << path;
    EXPECT_THAT(answer.body, Not(HasSubstr("till")));
    EXPECT_TRUE(eventually([&] { return requests(*runtime, path, "500") == 1; })) << path;
  }
  EXPECT_THAT(log.text(), HasSubstr("[error] route /throws: the till is empty"));
  EXPECT_THAT(log.text(), HasSubstr("[error] route /number: an exception of unknown type"));
  EXPECT_THAT(log.text(), HasSubstr("[error] route /memory: std::bad_alloc"));
  EXPECT_EQ(socket.ask(get("/hello")).status, 200);
}

TEST_F(HttpBadHandler, ThatThrowsWhatItsClientSaidWritesNoLinesOfTheLog) {
  serve();
  RawSocket socket = connect();
  EXPECT_EQ(socket.ask(get("/repeats?it=a%0A[error]%20route%20/:%20forged%1b[2J")).status, 500);
  EXPECT_TRUE(eventually([&] { return log.has("route /repeats"); }));
  EXPECT_THAT(log.text(), HasSubstr("[error] route /repeats: no order a\\x0a[error] route /: forged\\x1b[2J\n"));
}

TEST_F(HttpBadHandler, ThatBlocksItsThreadIsToldWhileOtherThreadsGoOn) {
  serve();
  RawSocket blocking = connect();
  RawSocket beside = connect_beside(blocking, true);
  Witness witness(connect_beside(blocking, false), "/hello");
  blocking.send(get("/blocks"));
  EXPECT_TRUE(eventually([&] { return log.has("a call that blocks, "); }));
  beside.send(get("/hello"));
  EXPECT_TRUE(witness.goes_on());
  // Those of its own thread wait, and are served.
  EXPECT_EQ(beside.read_answer().status, 200);
  EXPECT_EQ(blocking.read_answer().body, "at last");
  EXPECT_THAT(log.text(), HasSubstr("blocks_its_thread"));
  EXPECT_THAT(runtime->metrics().text(), HasSubstr("penstock_scheduler_blocked_total{call=\""));
  EXPECT_TRUE(eventually([&] { return log.has(" GET /blocks' held scheduler thread "); })) << log.text();
}

TEST_F(HttpBadHandler, ThatNeverReturnsIsEndedByItsDeadline) {
  bound("/never", milliseconds(30));
  serve();
  const Witness witness(connect(), "/hello");
  RawSocket socket = connect();
  EXPECT_EQ(socket.ask(get("/never")).status, 504);
  EXPECT_TRUE(eventually([&] { return requests(*runtime, "/never", "504") == 1; }));
  EXPECT_THAT(log.text(), HasSubstr("route /never: deadline passed while waiting for an event"));
  EXPECT_EQ(socket.ask(get("/hello")).status, 200);
}

TEST_F(HttpBadHandler, ThatComputesPastItsDeadlineIsToldWithItsCalls) {
  bound("/computes", milliseconds(60));
  serve();
  RawSocket busy = connect();
  Witness witness(connect_beside(busy, false), "/hello");
  const double before = counter("penstock_scheduler_deadline_overruns_total");
  busy.send(get("/computes"));
  EXPECT_TRUE(eventually([&] { return computing.load(); }));
  EXPECT_TRUE(eventually([&] { return counter("penstock_scheduler_deadline_overruns_total") > before; }));
  EXPECT_TRUE(eventually([&] { return log.has("a deadline passed "); }));
  EXPECT_TRUE(witness.goes_on());
  stop = true;
  // A deadline ends waits only: the answer that was made is sent.
  EXPECT_EQ(busy.read_answer().status, 200);
  EXPECT_THAT(log.text(), HasSubstr(" GET /computes does not wait"));
  EXPECT_THAT(log.text(), HasSubstr("computes_until"));
}

// Sanitizers keep their own diagnosis.
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)

void serve_a_handler_without_end() {
  RunningRuntime runtime(1);
  Server server(*runtime, {.port = 0});
  server.route("GET", "/recurses/{n}",
               [](const Request&) { return Response::text(std::to_string(recurses_in_a_handler(0))); });
  runtime.start();
  RawSocket::connect(server.port()).ask(get("/recurses/1?secret=2"));
}

TEST(HttpBadHandlerDeathTest, ThatOverflowsItsStackEndsTheProcessByName) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_EXIT(serve_a_handler_without_end(), testing::KilledBySignal(SIGSEGV),
              "stack overflow: fiber 'http 127.0.0.1:[0-9]+ GET /recurses/1' used all 128 KiB of its stack, in "
              ".*recurses_in_a_handler");
}

#endif

}  // namespace
}  // namespace penstock::http
