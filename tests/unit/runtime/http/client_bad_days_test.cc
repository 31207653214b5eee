#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <atomic>
#include <chrono>
#include <cstdio>
#include <fstream>
#include <string>
#include <thread>

#include "tests/unit/runtime/http/client_fixture.h"

namespace penstock::http {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

// An upstream's bad days. The upstream "A" misbehaves, "B" is well; a call to B is made while A does so, and one to A
// afterwards.
struct BadDay {
  const char* name;
  // What A does with the first call, on its connection.
  std::function<void(RawSocket&)> does;
  // How the call ends, and what the log says about it; "ok": with the body "ok".
  std::string outcome;
  std::string says;
};
void PrintTo(const BadDay& day, std::ostream* out) { *out << day.name; }

class UpstreamsBadDay : public ClientTest, public ::testing::WithParamInterface<BadDay> {
 protected:
  // The outcome of a call.
  static std::string outcome_of(const std::function<std::string()>& call, std::string& what) {
    try {
      EXPECT_EQ(call(), "ok");
      return "ok";
    } catch (const DeadlineExceeded& e) {
      what = e.what();
      return "timeout";
    } catch (const CallError& e) {
      what = e.what();
      return "error";
    }
  }

  void expect_day(const std::function<std::string(Client&, const std::string&)>& get) {
    const BadDay& day = GetParam();
    use_policy({{.name = "A", .hosts = {"127.0.0.1"}, .timeout = 200ms, .retry_budget = 0},
                {.name = "B", .hosts = {"127.0.0.2"}}});
    runtime.start();
    std::atomic<int> begun{0};
    RawServer a([&](RawSocket& socket, int number) {
      if (number > 0) return answer_all(socket, ok("ok"));
      socket.read_until("\r\n\r\n");
      ++begun;
      day.does(socket);
    });
    RawServer b([](RawSocket& socket, int) { answer_all(socket, ok("ok")); }, "127.0.0.2");
    Client client(*runtime, {.max_header_bytes = 1024, .max_body_bytes = 1000});
    runtime.on_fiber([&] {
      std::string what;
      Fiber bad =
          spawn("bad", [&] { EXPECT_EQ(outcome_of([&] { return get(client, a.url()); }, what), day.outcome) << what; });
      while (begun == 0) sleep_for(1ms);
      EXPECT_EQ(get(client, b.url()), "ok") << "which notices nothing";
      bad.join();
      if (day.outcome != "ok") {
        EXPECT_THAT(what, HasSubstr("upstream A: "));
      }
      EXPECT_THAT(what, HasSubstr(day.outcome == "ok" ? "" : day.says));
      EXPECT_EQ(get(client, a.url()), "ok") << "on another connection, with an answer of its own";
    });
    EXPECT_EQ(a.accepted(), 2);
    EXPECT_EQ(counted(day.outcome), day.outcome == "ok" ? 2 : 1);
    EXPECT_EQ(counted("ok", "B"), 1);
    EXPECT_EQ(counted("error", "B") + counted("timeout", "B"), 0);
    EXPECT_EQ(log.count("upstream=A"), 1u) << log.text();
    EXPECT_THAT(log.text(), HasSubstr(day.says));
    EXPECT_EQ(log.count("upstream=B"), 0u);
    if (day.outcome != "ok") {
      EXPECT_THAT(log.text(), HasSubstr("call failed upstream=A outcome=" + day.outcome));
    }
  }
};

TEST_P(UpstreamsBadDay, InACall) {
  expect_day([](Client& client, const std::string& url) { return client.get(url).body; });
}

TEST_P(UpstreamsBadDay, InACallInPieces) {
  expect_day([](Client& client, const std::string& url) {
    ClientExchange exchange = client.open("GET", url);
    return read_all(exchange, 5);
  });
}

// Whether the other side, in this machine, has read all that was sent to it.
bool has_been_read(const RawSocket& socket) {
  sockaddr_in own{}, peer{};
  socklen_t size = sizeof own;
  ::getsockname(socket.fd(), reinterpret_cast<sockaddr*>(&own), &size);
  size = sizeof peer;
  if (::getpeername(socket.fd(), reinterpret_cast<sockaddr*>(&peer), &size) != 0) return true;
  std::ifstream connections("/proc/net/tcp");
  for (std::string line; std::getline(connections, line);) {
    unsigned from = 0, to = 0, state = 0, received = 0;
    if (std::sscanf(line.c_str(), " %*u: %*8X:%X %*8X:%X %X %*X:%X", &from, &to, &state, &received) != 4) continue;
    if (from == ntohs(peer.sin_port) && to == ntohs(own.sin_port)) return received == 0;
  }
  return true;
}

// So that each byte is read by itself.
void send_slowly(RawSocket& socket, std::string_view text) {
  const auto give_up = std::chrono::steady_clock::now() + 10s;
  for (const char& c : text) {
    if (!socket.send({&c, 1})) return;
    while (!has_been_read(socket) && std::chrono::steady_clock::now() < give_up) std::this_thread::yield();
  }
}

const auto kSends = [](std::string text) {
  return [text](RawSocket& socket) {
    socket.send(text);
    socket.read_to_end();
  };
};

const std::string kMalformed = "malformed answer";
const std::string kMiddle = "the connection was closed in the middle of an answer";

INSTANTIATE_TEST_SUITE_P(
    Table, UpstreamsBadDay,
    ::testing::Values(
        BadDay{"Late",
               [](RawSocket& socket) {
                 std::this_thread::sleep_for(300ms);
                 socket.send(ok("late"));
                 socket.read_to_end();
               },
               "timeout", "deadline passed"},
        BadDay{"Never", [](RawSocket& socket) { EXPECT_TRUE(socket.closed_by_peer()); }, "timeout", "deadline passed"},
        BadDay{"StopsInItsHeader", kSends("HTTP/1.1 200 OK\r\nX: y"), "timeout", "deadline passed"},
        BadDay{"StopsInItsBody", kSends("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no"), "timeout", "deadline passed"},
        BadDay{"ByteByByteForEver",
               [](RawSocket& socket) {
                 socket.send("HTTP/1.1 200 OK\r\nX-Endless: ");
                 for (int i = 0; i < 900 && socket.send("x"); ++i) std::this_thread::sleep_for(1ms);
               },
               "timeout", "deadline passed"},
        BadDay{"ShortOfAHeader", [](RawSocket& socket) { socket.send("HTTP/1.1 200 OK\r\nContent-"); }, "error",
               kMiddle},
        BadDay{"ShortOfABody",
               [](RawSocket& socket) { socket.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc"); }, "error",
               kMiddle},
        BadDay{"ShortOfAChunk",
               [](RawSocket& socket) { socket.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc"); },
               "error", kMiddle},
        BadDay{
            "ShortOfTheLastChunk",
            [](RawSocket& socket) { socket.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"); },
            "error", kMiddle},
        BadDay{"Nothing", [](RawSocket&) {}, "error", "the connection was closed before an answer"},
        BadDay{"Reset", [](RawSocket& socket) { socket.reset(); }, "error", "Connection reset by peer"},
        BadDay{"ResetInItsBody",
               [](RawSocket& socket) {
                 socket.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc");
                 std::this_thread::sleep_for(50ms);
                 socket.reset();
               },
               "error", "receive in the middle of an answer: Connection reset by peer"},
        BadDay{"Twice", kSends(ok("ok") + ok("another's")), "ok", "unasked bytes"},
        BadDay{"BytesBehind", kSends(ok("ok") + "\r\n"), "ok", "unasked bytes"},
        BadDay{"BytesBehindChunks",
               kSends("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nmore"), "ok",
               "unasked bytes"},
        BadDay{"Garbage", kSends(std::string("\x16\x03\x01\x00\xee\x01\x00\x00", 8) + "garbage\r\n\r\n"), "error",
               kMalformed},
        BadDay{"OtherProtocol", kSends("220 mail.example ESMTP\r\n\r\n"), "error", kMalformed},
        BadDay{"BadLength", kSends("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n"), "error", kMalformed},
        BadDay{"TwoLengths", kSends("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!"), "error",
               kMalformed},
        BadDay{"LengthAndChunks",
               kSends("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"),
               "error", kMalformed},
        BadDay{"BadChunk", kSends("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"), "error", kMalformed},
        BadDay{"ChunkWithoutEnd", kSends("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokXX0\r\n\r\n"),
               "error", kMalformed},
        BadDay{"HugeHeader", kSends("HTTP/1.1 200 OK\r\nX: " + std::string(100'000, 'x') + "\r\n\r\n"), "error",
               kMalformed},
        BadDay{"ManyHeaders",
               [](RawSocket& socket) {
                 socket.send("HTTP/1.1 200 OK\r\n");
                 while (socket.send("X: y\r\n")) {
                 }
               },
               "error", kMalformed},
        BadDay{"HugeTrailers",
               kSends("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX: " +
                      std::string(100'000, 'x') + "\r\n\r\n"),
               "error", kMalformed},
        BadDay{"HugeHeadOfAChunk",
               kSends("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;" + std::string(100'000, 'x') +
                      "\r\nok\r\n0\r\n\r\n"),
               "error", kMalformed}),
    [](const auto& info) { return std::string(info.param.name); });

class UpstreamsBadDays : public ClientTest {};

// Slow is not wrong: an answer that comes a byte at a time is read, whatever frames it.
TEST_F(UpstreamsBadDays, AByteAtATime) {
  start();
  RawServer upstream([](RawSocket& socket, int) {
    for (const std::string& text :
         {ok("ok"),
          std::string("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1;x\r\nk\r\n0\r\nX: y\r\n\r\n"),
          "HTTP/1.1 102 Processing\r\n\r\n" + ok("ok"), std::string("HTTP/1.0 200 OK\r\n\r\nok")}) {
      if (socket.read_until("\r\n\r\n").empty()) return;
      send_slowly(socket, text);
    }
  });
  Client client(*runtime);
  runtime.on_fiber([&] {
    for (int i = 0; i < 4; ++i) EXPECT_EQ(client.get(upstream.url()).body, "ok") << i;
    for (int i = 0; i < 4; ++i) {
      ClientExchange exchange = client.open("GET", upstream.url());
      EXPECT_EQ(read_all(exchange), "ok") << i;
    }
  });
  EXPECT_EQ(upstream.accepted(), 2);
}

// A flood never makes a fiber wait; the deadline ends it all the same, and others run meanwhile.
TEST_F(UpstreamsBadDays, AFloodWithoutEnd) {
  start({.timeout = 200ms});
  RawServer upstream([](RawSocket& socket, int) {
    const std::string piece(256 * 1024, 'x');
    socket.read_until("\r\n\r\n");
    socket.send("HTTP/1.1 200 OK\r\n\r\n");
    while (socket.send(piece)) {
    }
  });
  Client client(*runtime, {.max_body_bytes = std::size_t{1} << 40});
  runtime.on_fiber([&] {
    std::atomic<int> turns{0};
    std::atomic<bool> stop{false};
    Fiber other = spawn("other", [&] {
      for (; !stop; ++turns) sleep_for(1ms);
    });
    ClientExchange exchange = client.open("GET", upstream.url());
    EXPECT_THROW(read_all(exchange, 1 << 16), DeadlineExceeded);
    EXPECT_GE(turns, 5);
    stop = true;
    other.join();
  });
  EXPECT_EQ(counted("timeout"), 1);
}

// Nobody accepts: the kernel's queue of the upstream is full.
TEST_F(UpstreamsBadDays, ConnectionsThatAreNeverMade) {
  start({.retry_budget = 0});
  const int listening = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof at;
  ASSERT_EQ(::bind(listening, reinterpret_cast<sockaddr*>(&at), size), 0);
  ASSERT_EQ(::listen(listening, 0), 0);
  ::getsockname(listening, reinterpret_cast<sockaddr*>(&at), &size);
  {
    const RawSocket in_the_queue = RawSocket::connect(ntohs(at.sin_port));
    Client client(*runtime, {.connect_timeout = 100ms});
    runtime.on_fiber([&] {
      const std::string url = "http://127.0.0.1:" + std::to_string(ntohs(at.sin_port));
      EXPECT_THAT(error_of<CallError>([&] { client.get(url); }), HasSubstr("cannot connect to 127.0.0.1:"));
      EXPECT_THROW(client.open("GET", url), CallError);
    });
  }
  ::close(listening);
  EXPECT_EQ(counted("error"), 2);
  EXPECT_EQ(log.count("call failed upstream=A outcome=error"), 1u);
}

TEST_F(UpstreamsBadDays, AStatusThatCountsAsAnError) {
  start({.retry_budget = 1});
  RawServer upstream(
      [](RawSocket& socket, int) { answer_all(socket, "HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"); });
  Client client(*runtime);
  runtime.on_fiber([&] {
    for (int i = 0; i < 20; ++i) EXPECT_EQ(client.get(upstream.url()).status, 503);
  });
  EXPECT_EQ(counted("error"), 20) << "answered, so none is sent again";
  EXPECT_EQ(log.count("answered 503"), 1u) << "not one line for each";
}

}  // namespace
}  // namespace penstock::http
