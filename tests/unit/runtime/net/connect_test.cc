#include "runtime/net/connect.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/error.hpp>
#include <chrono>
#include <new>
#include <string>
#include <vector>

#include "penstock/fiber.h"
#include "runtime/net/address.h"
#include "runtime/net/shortage.h"
#include "tests/unit/decision/allocation_count.h"
#include "tests/unit/own_path.h"
#include "tests/unit/runtime/net/sockets.h"

namespace penstock::net {
namespace {

using namespace std::chrono_literals;
using Clock = std::chrono::steady_clock;

TEST_F(Sockets, ConnectIsRefused) {
  run([] {
    Endpoint closed;
    {
      Listener listener(kAnyPort, 1);
      closed = listener.endpoint();
    }
    error_code ec;
    const Socket socket = Socket::connect(closed, 5s, ec);
    EXPECT_EQ(ec, boost::asio::error::connection_refused);
    EXPECT_FALSE(socket.is_open());
  });
}

TEST_F(Sockets, WithoutMemoryNoDescriptorIsLeft) {
  run([] {
    Listener listener(kAnyPort, 10);
    const Endpoint at = listener.endpoint();
    const std::vector<Endpoint> twice{at, at};
    const auto connect_to = [&](bool two) {
      const decision::NoMemory none;
      error_code ec;
      return two ? connect(twice, {.timeout = 5s}, ec) : Socket::connect(at, 5s, ec);
    };
    EXPECT_THROW(connect_to(false), std::bad_alloc);
    EXPECT_THROW(connect_to(true), std::bad_alloc);
    Endpoint peer;
    const auto accept_one = [&] {
      const decision::NoMemory none;
      return listener.accept(peer);
    };
    EXPECT_THROW(accept_one(), std::bad_alloc);
  });
}

TEST_F(Sockets, ConnectTimesOut) {
  run([] {
    // A full backlog: the handshake of a further connection is not completed.
    Listener listener(kAnyPort, 0);
    std::vector<Socket> waiting;
    error_code ec;
    for (int i = 0; i < 20 && !ec; ++i) waiting.push_back(Socket::connect(listener.endpoint(), 30ms, ec));
    EXPECT_EQ(ec, boost::asio::error::timed_out);
  });
}

TEST_F(Sockets, ConnectNeedsANumericAddress) {
  run([] {
    error_code ec;
    Socket::connect({"localhost", 1}, 1s, ec);
    EXPECT_EQ(ec, boost::asio::error::invalid_argument);
  });
}

// Addresses of which nothing is heard: the backlog is full.
class BlackHole {
 public:
  BlackHole() : listener_(kAnyPort, 0) {
    error_code ec;
    for (int i = 0; i < 20 && !ec; ++i) waiting_.push_back(Socket::connect(listener_.endpoint(), 30ms, ec));
    EXPECT_EQ(ec, boost::asio::error::timed_out);
  }
  Endpoint endpoint() const { return listener_.endpoint(); }

 private:
  Listener listener_;
  std::vector<Socket> waiting_;
};

Endpoint closed_port() { return Listener(kAnyPort, 1).endpoint(); }

Endpoint peer_of(const Socket& socket) {
  Address address;
  address.length = sizeof address.storage;
  ::getpeername(socket.fd(), address.get(), &address.length);
  return to_endpoint(address.get(), address.length);
}

TEST_F(Sockets, FamiliesAreTriedInTurn) {
  const Endpoint a4{"192.0.2.1", 1}, b4{"192.0.2.2", 1}, c4{"192.0.2.3", 1}, a6{"2001:db8::1", 1}, b6{"2001:db8::2", 1};
  EXPECT_EQ(families_in_turn({a4, b4, c4, a6, b6}), (std::vector<Endpoint>{a4, a6, b4, b6, c4}));
  EXPECT_EQ(families_in_turn({a6, a4, b4}), (std::vector<Endpoint>{a6, a4, b4}));
  EXPECT_EQ(families_in_turn({}), std::vector<Endpoint>{});
}

TEST_F(Sockets, ConnectGoesToTheFirstThatAnswers) {
  run([] {
    const Listener first(kAnyPort, 10), second(kAnyPort, 10);
    error_code ec;
    Socket socket = connect({first.endpoint(), second.endpoint()}, {.timeout = 5s}, ec);
    ASSERT_FALSE(ec) << ec.message();
    EXPECT_EQ(peer_of(socket), first.endpoint());
  });
}

TEST_F(Sockets, ConnectTriesTheNextAtOnceWhenOneRefuses) {
  run([] {
    const Listener listener(kAnyPort, 10);
    error_code ec;
    const Instant start = Clock::now();
    Socket socket =
        connect({closed_port(), closed_port(), listener.endpoint()}, {.timeout = 60s, .attempt_delay = 30s}, ec);
    ASSERT_FALSE(ec) << ec.message();
    EXPECT_EQ(peer_of(socket), listener.endpoint());
    EXPECT_LT(Clock::now() - start, 10s);
  });
}

TEST_F(Sockets, ConnectTriesTheNextBesideOneThatIsSilent) {
  run([] {
    const BlackHole silent;
    Listener listener(kAnyPort, 10);
    error_code ec;
    const Instant start = Clock::now();
    Socket socket = connect({silent.endpoint(), listener.endpoint()}, {.timeout = 60s, .attempt_delay = 20ms}, ec);
    ASSERT_FALSE(ec) << ec.message();
    EXPECT_GE(Clock::now() - start, 20ms);
    EXPECT_LT(Clock::now() - start, 10s);
    // And it is a connection like any other.
    Endpoint peer;
    Socket server = listener.accept(peer);
    socket.write_some(boost::asio::buffer("x", 1));
    char byte;
    EXPECT_EQ(server.read_some(boost::asio::buffer(&byte, 1)), 1u);
  });
}

TEST_F(Sockets, ConnectToNobodyTellsWhatTheFirstSaid) {
  run([] {
    error_code ec;
    connect({closed_port(), closed_port()}, {.timeout = 5s}, ec);
    EXPECT_EQ(ec, boost::asio::error::connection_refused);
    connect(std::vector<Endpoint>{}, {}, ec);
    EXPECT_EQ(ec, boost::asio::error::host_not_found);
    const BlackHole silent;
    connect({silent.endpoint(), silent.endpoint()}, {.timeout = 50ms, .attempt_delay = 5ms}, ec);
    EXPECT_EQ(ec, boost::asio::error::timed_out);
  });
}

TEST_F(Sockets, CancelAndDeadlineEndAllAttempts) {
  run([] {
    const BlackHole silent;
    const std::vector<Endpoint> addresses(3, silent.endpoint());
    error_code ec;
    {
      const DeadlineScope scope(Clock::now() + 30ms);
      EXPECT_THROW(connect(addresses, {.attempt_delay = 5ms}, ec), DeadlineExceeded);
    }
    Fiber fiber = spawn("connecting", [&] { connect(addresses, {.attempt_delay = 1ms}, ec); });
    sleep_for(10ms);
    fiber.cancel();
    EXPECT_THROW(fiber.join(), Cancelled);
    // The fixture sees that no descriptor is left.
  });
}

TEST_F(Sockets, ConnectByName) {
  run([] {
    const Listener listener(kAnyPort, 10);
    const Socket socket = connect("localhost", listener.endpoint().port, {.timeout = 5s, .keepalive = 90s});
    EXPECT_TRUE(socket.is_open());
    int on = 0, idle = 0;
    socklen_t length = sizeof on;
    ::getsockopt(socket.fd(), SOL_SOCKET, SO_KEEPALIVE, &on, &length);
    ::getsockopt(socket.fd(), IPPROTO_TCP, TCP_KEEPIDLE, &idle, &length);
    EXPECT_EQ(on, 1);
    EXPECT_EQ(idle, 90);
    try {
      connect("127.0.0.1", closed_port().port);
      ADD_FAILURE() << "connected to nobody";
    } catch (const boost::system::system_error& e) {
      EXPECT_EQ(e.code(), boost::asio::error::connection_refused);
      EXPECT_NE(std::string(e.what()).find("cannot connect to 127.0.0.1:"), std::string::npos) << e.what();
    }
  });
}

TEST_F(Sockets, ConnectToAUnixSocket) {
  run([] {
    const std::string path = own_path("connect");
    const Listener listener({path, 0}, 10);
    EXPECT_TRUE(connect(path, 0).is_open());
  });
}

TEST_F(Sockets, ConnectWithoutDescriptorsSaysSoAndIsCounted) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP() << "UndefinedBehaviorSanitizer looks at objects through a pipe";
#endif
  rlimit before;
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  run([&] {
    const Listener listener(kAnyPort, 10);
    const auto counted = shortages(ShortOf::connecting);
    const int lowest = ::dup(0);
    ::close(lowest);
    rlimit few = before;
    few.rlim_cur = static_cast<rlim_t>(lowest);
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
    error_code one, several;
    Socket::connect(listener.endpoint(), 1s, one);
    connect({listener.endpoint(), listener.endpoint()}, {.timeout = 1s}, several);
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
    EXPECT_EQ(one, boost::asio::error::no_descriptors);
    EXPECT_EQ(several, boost::asio::error::no_descriptors);
    EXPECT_EQ(shortages(ShortOf::connecting), counted + 2);
    EXPECT_TRUE(connect({listener.endpoint(), listener.endpoint()}, {.timeout = 1s}, one).is_open());
  });
}

}  // namespace
}  // namespace penstock::net
