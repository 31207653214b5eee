#include <gtest/gtest.h>
#include <sys/socket.h>

#include <boost/asio/error.hpp>
#include <chrono>
#include <utility>

#include "penstock/fiber.h"
#include "runtime/net/socket.h"
#include "tests/unit/runtime/net/sockets.h"

namespace penstock::net {
namespace {

using namespace std::chrono_literals;
using boost::asio::buffer;
using Clock = std::chrono::steady_clock;

TEST_F(Sockets, HangupIsToldWhileNobodyReads) {
  run([] {
    auto [a, b] = connected_tcp();
    bool left = false;
    a.on_hangup([&] { left = true; });
    sleep_for(5ms);
    EXPECT_FALSE(left);
    b.close();
    const Instant give_up = Clock::now() + 5s;
    while (!left && Clock::now() < give_up) sleep_for(1ms);
    EXPECT_TRUE(left);
  });
}

TEST_F(Sockets, HangupOfAResetIsTold) {
  run([] {
    auto [a, b] = connected_tcp();
    bool left = false;
    a.on_hangup([&] { left = true; });
    const linger reset{1, 0};
    ::setsockopt(b.fd(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    b.close();
    const Instant give_up = Clock::now() + 5s;
    while (!left && Clock::now() < give_up) sleep_for(1ms);
    EXPECT_TRUE(left);
  });
}

TEST_F(Sockets, HangupThatWasEarlierIsToldAtOnceIfAllIsRead) {
  run([] {
    auto [a, b] = connected_tcp();
    b.write_some(buffer("ab", 2));
    b.close();
    char bytes[2];
    a.read_some(buffer(bytes, 1));
    // Until the reactor has seen the end of the stream.
    sleep_for(20ms);
    bool left = false;
    a.on_hangup([&] { left = true; });
    EXPECT_FALSE(left) << "a byte is left";
    a.read_some(buffer(bytes, 1));
    EXPECT_TRUE(left);
  });
}

TEST_F(Sockets, HangupIsNotToldToAWaitingReader) {
  run([] {
    auto [a, b] = connected_tcp();
    Socket& socket = a;
    bool left = false;
    error_code ec;
    socket.on_hangup([&] { left = true; });
    Fiber reader = spawn("reader", [&] {
      char byte;
      socket.read_some(buffer(&byte, 1), ec);
    });
    yield();
    b.close();
    reader.join();
    EXPECT_EQ(ec, boost::asio::error::eof);
    EXPECT_FALSE(left);
  });
}

TEST_F(Sockets, AReusedDescriptorGetsNoOldEvents) {
  run([] {
    auto [a, a_peer] = connected_pair();
    auto [b, b_peer] = connected_pair();
    const int number = b.fd();
    Socket& closing = b;
    bool wrong = false;
    Socket fresh, fresh_peer;
    // Both events are in one batch; the first one's callback closes the second's socket and reuses its number.
    auto replace = [&] {
      if (fresh.is_open()) return;
      closing.on_hangup(nullptr);
      closing.close();
      auto [x, y] = connected_pair();
      const bool first = x.fd() == number;
      fresh = std::move(first ? x : y);
      fresh_peer = std::move(first ? y : x);
      fresh.on_hangup([&] { wrong = true; });
    };
    a.on_hangup(replace);
    closing.on_hangup([&] { wrong = fresh.is_open(); });
    a_peer.close();
    b_peer.close();
    const Instant give_up = Clock::now() + 5s;
    while (!fresh.is_open() && Clock::now() < give_up) sleep_for(1ms);
    EXPECT_EQ(fresh.fd(), number);
    sleep_for(5ms);
    EXPECT_FALSE(wrong);
  });
}

TEST_F(Sockets, StaleWhenThePeerClosedOrSpoke) {
  run([] {
    auto [a, b] = connected_tcp();
    EXPECT_FALSE(a.stale());
    b.write_some(buffer("x", 1));
    const Instant give_up = Clock::now() + 5s;
    while (!a.stale() && Clock::now() < give_up) sleep_for(1ms);
    EXPECT_TRUE(a.stale());
    auto [c, d] = connected_tcp();
    d.close();
    while (!c.stale() && Clock::now() < give_up) sleep_for(1ms);
    EXPECT_TRUE(c.stale());
  });
}

}  // namespace
}  // namespace penstock::net
