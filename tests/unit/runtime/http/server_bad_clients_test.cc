#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include "penstock/fiber.h"
#include "tests/unit/runtime/captured_log.h"
#include "tests/unit/runtime/http/raw_socket.h"
#include "tests/unit/runtime/http/running_runtime.h"
#include "tests/unit/runtime/http/witness.h"

namespace penstock::http {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;

constexpr std::string_view kHeld = "GET /held HTTP/1.1\r\nHost: t\r\n\r\n";
constexpr std::string_view kPart = "POST /size HTTP/1.1\r\nHost: t\r\nContent-Length: 9\r\n\r\nabc";

// Clients that ask for trouble, and one on the same scheduler thread that must not notice. Each case can be read in the
// log and from metrics.
class HttpBadClient : public ::testing::Test {
 protected:
  void serve(ServerOptions options = {}) {
    options.port = 0;
    server.emplace(*runtime, options);
    server->route("GET", "/hello", [](const Request&) { return Response::text("hello"); });
    server->route("POST", "/size", [](const Request& r) { return Response::text(std::to_string(r.body().size())); });
    server->route("GET", "/held", [this](const Request&) {
      ++held;
      while (!released) sleep_for(milliseconds(2));
      return Response::text("done");
    });
    server->route("GET", "/large", [](const Request&) { return Response::text(std::string(64 << 20, 'x')); });
    runtime.start();
    witness.emplace(connect(), "/hello");
  }
  RawSocket connect() { return RawSocket::connect(server->port()); }
  bool counted(std::string_view route, std::string_view code, double times = 1) {
    return eventually([&] { return requests(*runtime, route, code) >= times; });
  }
  // The log has one such line a second.
  bool logged(std::string_view line, const std::function<void()>& again) {
    return eventually([&] {
      if (log.has(line)) return true;
      again();
      return log.has(line);
    });
  }
  void send_and_reset(std::string_view what) {
    RawSocket socket = connect();
    socket.send(what);
    socket.reset();
  }

  const CapturedLog log;
  std::atomic<int> held{0};
  std::atomic<bool> released{false};
  // As the access log has it.
  std::atomic<int> gone{0};
  std::atomic<int> status{0};
  RunningRuntime runtime{1};
  std::optional<Server> server;
  std::optional<Witness> witness;
};

TEST_F(HttpBadClient, ThatSendsItsHeaderByteByByteIsToldToHurry) {
  serve({.header_timeout = milliseconds(80)});
  RawSocket dripping = connect();
  std::thread drip([&] {
    for (int i = 0; i < 100 && dripping.send("G"); ++i) std::this_thread::sleep_for(milliseconds(10));
  });
  EXPECT_EQ(dripping.read_answer().status, 408);
  EXPECT_TRUE(witness->goes_on());
  EXPECT_TRUE(counted("other", "408"));
  EXPECT_THAT(log.text(), HasSubstr("408, the header took too long"));
  drip.join();
}

TEST_F(HttpBadClient, ThatSendsItsBodyByteByByteIsToldToHurry) {
  serve({.body_timeout = milliseconds(100)});
  RawSocket dripping = connect();
  dripping.send("POST /size HTTP/1.1\r\nHost: t\r\nContent-Length: 1000\r\n\r\n");
  std::thread drip([&] {
    for (int i = 0; i < 100 && dripping.send("x"); ++i) std::this_thread::sleep_for(milliseconds(10));
  });
  EXPECT_EQ(dripping.read_answer().status, 408);
  EXPECT_TRUE(witness->goes_on());
  EXPECT_TRUE(counted("/size", "408"));
  EXPECT_THAT(log.text(), HasSubstr("408, the body took too long"));
  drip.join();
}

TEST_F(HttpBadClient, WhoseBodyAlwaysWaitsForTheRestOfAChunksHeadIsToldToHurry) {
  serve({.body_timeout = milliseconds(100)});
  RawSocket dripping = connect();
  dripping.send("POST /size HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r");
  std::thread drip([&] {
    for (int i = 0; i < 100 && dripping.send("\n1\r\nx\r"); ++i) std::this_thread::sleep_for(milliseconds(10));
    dripping.send("\n0\r\n\r\n");
  });
  EXPECT_EQ(dripping.read_answer().status, 408);
  EXPECT_TRUE(witness->goes_on());
  EXPECT_TRUE(counted("/size", "408"));
  EXPECT_THAT(log.text(), HasSubstr("408, the body took too long"));
  drip.join();
}

TEST_F(HttpBadClient, ThatReadsItsAnswerByteByByteIsLeft) {
  serve({.io_timeout = milliseconds(50)});
  RawSocket slow = RawSocket::connect(server->port(), 4096);
  slow.send("GET /large HTTP/1.1\r\nHost: t\r\n\r\n");
  EXPECT_TRUE(eventually([&] { return log.has("has left before its answer, or does not read it"); }));
  EXPECT_TRUE(counted("/large", "200"));
  EXPECT_TRUE(witness->goes_on());
}

TEST_F(HttpBadClient, ThatClosesItsHalfInAHeaderIsLeft) {
  serve();
  const auto leave = [&] {
    RawSocket socket = connect();
    socket.send("GET /hello HTTP/1.1\r\nHo");
    socket.shutdown_send();
    EXPECT_TRUE(socket.closed_by_peer());
  };
  leave();
  EXPECT_TRUE(counted("other", "499"));
  EXPECT_TRUE(logged("left in the middle of a header", leave));
  EXPECT_TRUE(witness->goes_on());
}

TEST_F(HttpBadClient, ThatClosesItsHalfInABodyIsLeft) {
  serve();
  const auto leave = [&] {
    RawSocket socket = connect();
    socket.send(kPart);
    socket.shutdown_send();
    EXPECT_TRUE(socket.closed_by_peer());
  };
  leave();
  EXPECT_TRUE(counted("/size", "499"));
  EXPECT_TRUE(logged("left in the middle of its request", leave));
  EXPECT_TRUE(witness->goes_on());
}

TEST_F(HttpBadClient, ThatClosesItsHalfAfterItsRequestCancelsIt) {
  serve({.access_log = [this](const AccessRecord& record) {
    if (record.target == "/held") status = record.status;
  }});
  RawSocket socket = connect();
  socket.send(kHeld);
  ASSERT_TRUE(eventually([&] { return held == 1; }));
  socket.shutdown_send();
  EXPECT_TRUE(counted("/held", "499"));
  EXPECT_TRUE(eventually([&] { return status == 499; })) << "for the access log";
  EXPECT_TRUE(witness->goes_on());
}

TEST_F(HttpBadClient, ThatClosesItsHalfAfterItsRequestIsAnsweredWhereThatIsWanted) {
  serve({.cancel_on_disconnect = false});
  RawSocket socket = connect();
  socket.send(kHeld);
  socket.shutdown_send();
  ASSERT_TRUE(eventually([&] { return held == 1; }));
  EXPECT_TRUE(witness->goes_on());
  released = true;
  EXPECT_EQ(socket.read_answer().body, "done");
  EXPECT_TRUE(socket.closed_by_peer());
}

TEST_F(HttpBadClient, ThatResetsLeavesNothingBehind) {
  serve({.access_log = [this](const AccessRecord& record) { gone += record.status == 499; }});
  for (int i = 0; i < 20; ++i) {
    send_and_reset("");
    send_and_reset(kPart);
    RawSocket socket = connect();
    const int before = held;
    socket.send(kHeld);
    ASSERT_TRUE(eventually([&] { return held > before; }));
    socket.reset();
  }
  EXPECT_TRUE(counted("/held", "499", 20));
  EXPECT_TRUE(eventually([&] { return gone >= 20; })) << "for the access log";
  EXPECT_TRUE(witness->goes_on());
  witness.reset();
  EXPECT_TRUE(eventually([&] { return runtime->pool("default").in_flight() == 0; }));
  // Acceptor, keeper, ticker.
  EXPECT_TRUE(eventually([&] { return runtime->stats().fibers == 3; }));
}

TEST_F(HttpBadClient, ThatSendsAGigabyteOfHeaderIsRefusedBeforeItUsesMemory) {
  serve({.max_header_bytes = 4096});
  const auto resident = runtime->stats().resident_bytes;
  RawSocket socket = connect();
  ASSERT_TRUE(socket.send("GET / HTTP/1.1\r\nHost: t\r\n"));
  const std::string line = "X-Filler: " + std::string(1000, 'x') + "\r\n";
  std::size_t sent = 0;
  while (sent < (1u << 30) && socket.send(line)) sent += line.size();
  EXPECT_LT(sent, 64u << 20);
  EXPECT_TRUE(counted("other", "431"));
  EXPECT_THAT(log.text(), HasSubstr("431, the header is too large"));
  EXPECT_TRUE(witness->goes_on());
  EXPECT_LT(runtime->stats().resident_bytes, resident + (32u << 20));
}

TEST_F(HttpBadClient, ThatSendsAGigabyteOfBodyIsRefusedBeforeItUsesMemory) {
  serve({.max_body_bytes = 4096});
  const std::string head = "POST /size HTTP/1.1\r\nHost: t\r\n";
  const auto send_much = [&](const std::string& framing, const std::string& part) {
    RawSocket socket = connect();
    ASSERT_TRUE(socket.send(head + framing + "\r\n\r\n"));
    std::size_t sent = 0;
    while (sent < (1u << 30) && socket.send(part)) sent += part.size();
    EXPECT_LT(sent, 64u << 20);
  };
  send_much("Content-Length: 1073741824", std::string(1000, 'x'));
  EXPECT_TRUE(counted("/size", "413"));
  EXPECT_THAT(log.text(), HasSubstr("413, "));
  send_much("Transfer-Encoding: chunked", "3e8\r\n" + std::string(1000, 'x') + "\r\n");
  EXPECT_TRUE(counted("/size", "413", 2));
  EXPECT_TRUE(witness->goes_on());
}

TEST_F(HttpBadClient, ThatSendsAGigabyteOfUriIsRefusedBeforeItUsesMemory) {
  serve({.max_header_bytes = 4096});
  RawSocket socket = connect();
  ASSERT_TRUE(socket.send("GET /"));
  const std::string part(1000, 'x');
  std::size_t sent = 0;
  while (sent < (1u << 30) && socket.send(part)) sent += part.size();
  EXPECT_LT(sent, 64u << 20);
  EXPECT_TRUE(counted("other", "414"));
  EXPECT_THAT(log.text(), HasSubstr("414, "));
  EXPECT_TRUE(witness->goes_on());
}

}  // namespace
}  // namespace penstock::http
