#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>

#include "tests/unit/runtime/http/client_fixture.h"

namespace penstock::http {
namespace {

using namespace std::chrono_literals;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

class HttpClientExchange : public ClientTest {};

TEST_F(HttpClientExchange, ReadsAnAnswerWhileItComes) {
  start();
  std::atomic<int> read{0};
  RawServer upstream([&](RawSocket& socket, int) {
    socket.read_until("\r\n\r\n");
    socket.send("HTTP/1.1 200 OK\r\nX-Kind: slow\r\nContent-Length: 9\r\n\r\n");
    for (int i = 0; i < 3; ++i) {
      // The next piece comes when the one before has been read.
      if (!eventually([&] { return read == i; })) return;
      socket.send("abc");
    }
    socket.read_to_end();
  });
  Client client(*runtime);
  runtime.on_fiber([&] {
    ClientExchange exchange = client.open("GET", upstream.url());
    EXPECT_EQ(exchange.head().status, 200);
    EXPECT_EQ(exchange.head().header("X-Kind"), "slow");
    EXPECT_EQ(exchange.head().body, "");
    char room[100];
    for (int i = 0; i < 3; ++i) {
      ASSERT_EQ(exchange.read(room, sizeof room), 3u);
      EXPECT_EQ(std::string_view(room, 3), "abc");
      EXPECT_EQ(stats().in_flight, i < 2 ? 1 : 0) << "the call lasts until the end of its body";
      ++read;
    }
    EXPECT_EQ(exchange.read(room, sizeof room), 0u);
    EXPECT_EQ(exchange.read(room, sizeof room), 0u) << "again and again";
    EXPECT_EQ(stats().in_flight, 0);
    EXPECT_EQ(stats().ok, 1u);
  });
}

TEST_F(HttpClientExchange, ReadsEveryFramingIntoRoomOfAnySize) {
  start();
  const std::string body = "0123456789abcdef";
  RawServer upstream([&](RawSocket& socket, int) {
    socket.read_until("\r\n\r\n");
    socket.send(ok(body));
    socket.read_until("\r\n\r\n");
    socket.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n0123\r\n1;x=y\r\n4\r\n");
    socket.send("B\r\n56789abcdef\r\n0\r\nX-Sum: 1\r\nX-Sign: 2\r\n\r\n");
    socket.read_until("\r\n\r\n");
    socket.send("HTTP/1.0 200 OK\r\n\r\n" + body);
  });
  Client client(*runtime);
  for (const std::size_t room : {1u, 3u, 15u, 16u, 17u, 5000u}) {
    runtime.on_fiber([&] {
      const auto get = [&] { return client.open("GET", upstream.url()); };
      ClientExchange sized = get();
      EXPECT_EQ(read_all(sized, room), body) << room;
      EXPECT_TRUE(sized.trailers().empty());
      ClientExchange chunked = get();
      EXPECT_EQ(read_all(chunked, room), body) << room;
      EXPECT_THAT(chunked.trailers(), ElementsAre(Pair("X-Sum", "1"), Pair("X-Sign", "2")));
      ClientExchange endless = get();
      EXPECT_EQ(read_all(endless, room), body) << room;
    });
  }
  EXPECT_EQ(upstream.accepted(), 6) << "one connection for three answers";
}

TEST_F(HttpClientExchange, ReadsMoreThanAWholeAnswerMayHold) {
  start();
  const std::string piece(100'000, 'x');
  RawServer upstream([&](RawSocket& socket, int) {
    socket.read_until("\r\n\r\n");
    socket.send("HTTP/1.1 200 OK\r\nContent-Length: 5000000\r\n\r\n");
    for (int i = 0; i < 50; ++i) socket.send(piece);
    socket.read_to_end();
  });
  Client client(*runtime, {.max_body_bytes = 1000});
  runtime.on_fiber([&] {
    ClientExchange exchange = client.open("GET", upstream.url());
    EXPECT_EQ(read_all(exchange, 30'000).size(), 5'000'000u);
  });
}

TEST_F(HttpClientExchange, SendsABodyOfKnownLength) {
  start();
  RawServer upstream([&](RawSocket& socket, int) {
    const std::string head = socket.read_until("\r\n\r\n");
    EXPECT_THAT(head, HasSubstr("POST /in HTTP/1.1\r\n"));
    EXPECT_THAT(head, HasSubstr("Content-Length: 6\r\n"));
    EXPECT_EQ(socket.read_until("abcdef"), "abcdef");
    socket.send(ok("got it"));
    socket.read_to_end();
  });
  Client client(*runtime);
  runtime.on_fiber([&] {
    ClientExchange exchange = client.open("POST", upstream.url("/in"), {}, BodyLength::bytes(6));
    EXPECT_TRUE(exchange.write("abc"));
    EXPECT_TRUE(exchange.write(""));
    EXPECT_THROW(exchange.finish(), std::logic_error) << "half of it is missing";
    EXPECT_TRUE(exchange.write("def"));
    EXPECT_THROW(exchange.write("g"), std::length_error);
    EXPECT_THROW(exchange.finish({{"X", "1"}}), std::logic_error) << "no chunks, no trailers";
    EXPECT_EQ(read_all(exchange), "got it");
  });
  EXPECT_EQ(stats().ok, 1u);
}

TEST_F(HttpClientExchange, SendsABodyOfUnknownLengthAndTrailers) {
  start();
  RawServer upstream([&](RawSocket& socket, int) {
    EXPECT_THAT(socket.read_until("\r\n\r\n"), HasSubstr("Transfer-Encoding: chunked\r\n"));
    EXPECT_EQ(socket.read_until("\r\n\r\n"), "3\r\nabc\r\n10\r\n0123456789abcdef\r\n0\r\nX-Sum: 7\r\n\r\n");
    socket.send(ok("got it"));
    socket.read_to_end();
  });
  Client client(*runtime);
  runtime.on_fiber([&] {
    ClientExchange exchange = client.open("PUT", upstream.url(), {}, BodyLength::unknown());
    EXPECT_TRUE(exchange.write("abc"));
    EXPECT_TRUE(exchange.write("")) << "which is not the last chunk";
    EXPECT_TRUE(exchange.write("0123456789abcdef"));
    EXPECT_THROW(exchange.finish({{"X Y", "1"}}), std::invalid_argument);
    exchange.finish({{"X-Sum", "7"}, {"Content-Length", "5"}});
    exchange.finish();
    EXPECT_THROW(exchange.write("more"), std::logic_error);
    EXPECT_EQ(read_all(exchange), "got it");
  });
}

TEST_F(HttpClientExchange, ABodyThatIsLeftEmptyIsEnded) {
  start();
  RawServer upstream([&](RawSocket& socket, int number) {
    if (number != 0) return;
    EXPECT_THAT(socket.read_until("\r\n\r\n"), HasSubstr("Content-Length: 0\r\n"));
    socket.send(ok("1"));
    EXPECT_EQ(socket.read_until("\r\n\r\n").find("Content-Length"), std::string::npos);
    socket.send(ok("2"));
    socket.read_until("\r\n\r\n");
    EXPECT_EQ(socket.read_until("\r\n\r\n"), "0\r\n\r\n");
    socket.send(ok("3"));
  });
  Client client(*runtime);
  runtime.on_fiber([&] {
    for (const BodyLength length : {BodyLength::bytes(0), BodyLength::none(), BodyLength::unknown()}) {
      ClientExchange exchange = client.open("POST", upstream.url(), {}, length);
      exchange.finish();
      read_all(exchange);
    }
    ClientExchange none = client.open("GET", upstream.url());
    EXPECT_THROW(none.write("x"), std::logic_error);
  });
  EXPECT_EQ(stats().ok, 3u);
  EXPECT_EQ(stats().cancelled, 1u) << "the one that was not ended";
}

TEST_F(HttpClientExchange, AnAnswerMayComeBeforeTheBodyHasEnded) {
  start();
  RawServer upstream([&](RawSocket& socket, int) {
    socket.read_until("abc\r\n");
    socket.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n");
    EXPECT_EQ(socket.read_until("0\r\n\r\n"), "3\r\ndef\r\n0\r\n\r\n");
    socket.send("3\r\nbye\r\n0\r\n\r\n");
    socket.read_to_end();
  });
  Client client(*runtime);
  runtime.on_fiber([&] {
    ClientExchange exchange = client.open("POST", upstream.url(), {}, BodyLength::unknown());
    exchange.write("abc");
    EXPECT_EQ(exchange.head().status, 200);
    char room[10];
    ASSERT_EQ(exchange.read(room, sizeof room), 2u);
    EXPECT_TRUE(exchange.write("def"));
    exchange.finish();
    EXPECT_EQ(read_all(exchange), "bye");
  });
  EXPECT_EQ(stats().ok, 1u);
}

TEST_F(HttpClientExchange, ARefusalThatComesBeforeTheBodyEndsIsRead) {
  start();
  RawServer upstream([&](RawSocket& socket, int number) {
    socket.read_until("\r\n\r\n");
    socket.send("HTTP/1.1 413 Too Large\r\nContent-Length: 7\r\n\r\ntoo big");
    // The first one closes at once, the other ones when the client does.
    if (number != 0) {
      socket.read_to_end();
    }
  });
  Client client(*runtime);
  runtime.on_fiber([&] {
    const std::string piece(256 * 1024, 'x');
    ClientExchange refused = client.open("POST", upstream.url(), {}, BodyLength::bytes(1'000 * piece.size()));
    int taken = 0;
    while (taken < 1'000 && refused.write(piece)) ++taken;
    EXPECT_LT(taken, 1'000);
    EXPECT_EQ(refused.head().status, 413);
    EXPECT_EQ(read_all(refused), "too big");

    ClientExchange early = client.open("POST", upstream.url(), {}, BodyLength::unknown());
    early.write("x");
    EXPECT_EQ(early.head().status, 413);
    EXPECT_EQ(read_all(early), "too big");
    EXPECT_FALSE(early.write("y")) << "the call has ended";
    early.finish();
    EXPECT_EQ(client.request("HEAD", upstream.url(), "", {}).status, 413);
  });
  EXPECT_EQ(upstream.accepted(), 3) << "a connection with half of a request on it is not used again";
}

TEST_F(HttpClientExchange, InterimAnswersAreSkipped) {
  start();
  RawServer upstream([&](RawSocket& socket, int) {
    socket.read_until("\r\n\r\n");
    socket.send("HTTP/1.1 100 Continue\r\nX-Interim: 1\r\n\r\n");
    socket.read_until("abc");
    socket.send("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + ok("ok", "X-Final: 1\r\n"));
    socket.read_to_end();
  });
  Client client(*runtime);
  runtime.on_fiber([&] {
    ClientExchange exchange = client.open("POST", upstream.url(), {}, BodyLength::bytes(3));
    exchange.write("abc");
    EXPECT_EQ(exchange.head().status, 200);
    EXPECT_EQ(exchange.head().header("X-Interim"), "");
    EXPECT_EQ(exchange.head().header("Link"), "");
    EXPECT_EQ(exchange.head().header("X-Final"), "1");
    EXPECT_EQ(read_all(exchange), "ok");
  });
}

TEST_F(HttpClientExchange, LeftBeforeItsEndIsCancelledAndCloses) {
  start();
  std::atomic<int> closed{0};
  RawServer upstream([&](RawSocket& socket, int) {
    socket.read_until("\r\n\r\n");
    socket.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc");
    closed += socket.closed_by_peer();
  });
  Client client(*runtime);
  runtime.on_fiber([&] {
    {
      ClientExchange exchange = client.open("GET", upstream.url());
      EXPECT_EQ(exchange.head().status, 200);
    }
    EXPECT_EQ(stats().in_flight, 0);
    EXPECT_EQ(stats().cancelled, 1u);
    // Replaced by assignment.
    ClientExchange exchange = client.open("GET", upstream.url());
    exchange.head();
    exchange = client.open("GET", upstream.url());
    EXPECT_EQ(stats().cancelled, 2u);
    EXPECT_EQ(stats().in_flight, 1);
  });
  EXPECT_TRUE(eventually([&] { return closed >= 2; }));
}

TEST_F(HttpClientExchange, EndsAtTheUpstreamsTimeoutHoweverItsPiecesCome) {
  start({.timeout = 150ms});
  std::atomic<bool> closed{false};
  RawServer upstream([&](RawSocket& socket, int) {
    socket.read_until("\r\n\r\n");
    socket.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    while (socket.send("1\r\nx\r\n")) std::this_thread::sleep_for(5ms);
    closed = true;
  });
  Client client(*runtime);
  runtime.on_fiber([&] {
    ClientExchange exchange = client.open("GET", upstream.url());
    EXPECT_THAT(error_of<DeadlineExceeded>([&] { read_all(exchange); }), HasSubstr("upstream A: "));
    char room[10];
    EXPECT_THAT(error_of<CallError>([&] { exchange.read(room, sizeof room); }), HasSubstr("the call has ended"));
    EXPECT_EQ(exchange.head().status, 200) << "as it was";
    EXPECT_NO_THROW(check_interrupts()) << "the caller's own deadline is another one";
  });
  EXPECT_TRUE(eventually([&] { return closed.load(); }));
  EXPECT_EQ(stats().timeouts, 1u);
}

TEST_F(HttpClientExchange, ASlowReaderSlowsTheWriterDown) {
  start();
  std::atomic<bool> read{false};
  RawServer upstream([&](RawSocket& socket, int) {
    socket.read_until("\r\n\r\n");
    if (!eventually([&] { return read.load(); })) return;
    socket.skip_until("end");
    socket.send(ok("ok"));
  });
  Client client(*runtime);
  runtime.on_fiber([&] {
    const std::string piece(512 * 1024, 'x');
    std::atomic<int> written{0};
    Fiber writing = spawn("writing", [&] {
      ClientExchange exchange = client.open("POST", upstream.url(), {}, BodyLength::unknown());
      for (; written < 64; ++written) ASSERT_TRUE(exchange.write(piece));
      exchange.write("end");
      EXPECT_EQ(read_all(exchange), "ok");
    });
    int before = -1;
    while (written != before) {
      before = written;
      sleep_for(50ms);
    }
    EXPECT_LT(before, 64) << "the kernel's buffers hold less";
    read = true;
    writing.join();
  });
}

TEST_F(HttpClientExchange, RefusesWhatMakesNoSense) {
  start();
  RawServer upstream([](RawSocket& socket, int) { answer_all(socket, ok("ok")); });
  Client client(*runtime);
  EXPECT_THROW(client.open("GET", upstream.url()), std::logic_error) << "no fiber";
  runtime.on_fiber([&] {
    EXPECT_THROW(client.open("G T", upstream.url()), std::invalid_argument);
    EXPECT_THROW(client.open("GET", "nowhere"), std::invalid_argument);
    EXPECT_THROW(client.open("GET", upstream.url(), {{"X", "a\nb"}}), std::invalid_argument);
    ClientExchange exchange = client.open("GET", upstream.url());
    char none;
    EXPECT_THROW(exchange.read(&none, 0), std::invalid_argument);
    EXPECT_EQ(read_all(exchange), "ok") << "which has done no harm";
  });
}

// The time that a fiber waits after a call that could not be begun is not the upstream's.
TEST_F(HttpClientExchange, AFailedBeginLeavesNothingBehind) {
  use_policy({{}});
  std::uint16_t port;
  {
    RawServer gone([](RawSocket&, int) {});
    port = static_cast<std::uint16_t>(std::stoi(gone.url("").substr(17)));
  }
  Client client(*runtime);
  Server server(*runtime, {.port = 0});
  server.route("GET", "/", [&](const Request&) {
    error_of<CallError>([&] { client.open("GET", "http://127.0.0.1:" + std::to_string(port)); });
    sleep_for(300ms);
    return Response::text("ok");
  });
  runtime.start();
  {
    RawSocket user = RawSocket::connect(server.port());
    EXPECT_EQ(user.ask("GET / HTTP/1.1\r\nHost: t\r\n\r\n").status, 200);
  }
  const auto waited = [&](const char* upstream) {
    return runtime->metrics().total("penstock_request_time_seconds_total",
                                    {{"route", "/"}, {"phase", "waiting"}, {"upstream", upstream}});
  };
  EXPECT_TRUE(eventually([&] { return waited("") > 0.2 || waited("A") > 0.2; }));
  EXPECT_LT(waited("A"), 0.2);
}

}  // namespace
}  // namespace penstock::http
