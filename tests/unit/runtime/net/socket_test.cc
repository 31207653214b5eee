#include <gtest/gtest.h>
#include <sys/socket.h>

#include <boost/asio/error.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <string>
#include <vector>

#include "penstock/fiber.h"
#include "runtime/net/socket.h"
#include "tests/unit/runtime/net/sockets.h"

namespace penstock::net {
namespace {

using namespace std::chrono_literals;
using boost::asio::buffer;
using Clock = std::chrono::steady_clock;

TEST_F(Sockets, EchoOverTcp) {
  run([] {
    Listener listener(kAnyPort, 10);
    const Endpoint at = listener.endpoint();
    Fiber server = spawn("server", [&] {
      Endpoint peer;
      Socket socket = listener.accept(peer);
      EXPECT_EQ(peer.host, "127.0.0.1");
      char data[5];
      boost::asio::read(socket, buffer(data));
      boost::asio::write(socket, buffer(data));
    });
    error_code ec;
    Socket client = Socket::connect(at, 5s, ec);
    ASSERT_FALSE(ec) << ec.message();
    boost::asio::write(client, buffer("hello", 5));
    char data[5];
    boost::asio::read(client, buffer(data));
    EXPECT_EQ(std::string(data, 5), "hello");
    EXPECT_EQ(client.read_some(buffer(data), ec), 0u);
    EXPECT_EQ(ec, boost::asio::error::eof);
    server.join();
  });
}

TEST_F(Sockets, LargeWritesGoOnWhereTheyStopped) {
  run([] {
    auto [a, b] = connected_tcp();
    const int small = 64 * 1024;
    ::setsockopt(a.fd(), SOL_SOCKET, SO_SNDBUF, &small, sizeof small);
    std::string sent(4 * 1024 * 1024, '\0');
    for (std::size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<char>(i * 31 + i / 4099);
    Fiber writer = spawn("writer", [&] {
      boost::asio::write(a, buffer(sent));
      a.shutdown_send();
    });
    std::string received(sent.size(), '\0');
    error_code ec;
    EXPECT_EQ(boost::asio::read(b, buffer(received), ec), sent.size());
    EXPECT_EQ(received, sent);
    writer.join();
  });
}

TEST_F(Sockets, BufferSequencesAreGatheredAndScattered) {
  run([] {
    auto [a, b] = connected_pair();
    // More parts than one call takes, and empty ones between.
    std::vector<std::string> parts;
    std::string whole;
    for (int i = 0; i < 40; ++i) {
      parts.push_back(i % 3 == 0 ? "" : std::to_string(i) + ",");
      whole += parts.back();
    }
    std::vector<boost::asio::const_buffer> sequence;
    for (const std::string& part : parts) sequence.push_back(buffer(part));
    EXPECT_EQ(boost::asio::write(a, sequence), whole.size());
    std::string first(10, '\0'), second(whole.size() - 10, '\0');
    boost::asio::read(b, std::vector<boost::asio::mutable_buffer>{buffer(first), buffer(second)});
    EXPECT_EQ(first + second, whole);
  });
}

TEST_F(Sockets, ReadTimesOut) {
  run([] {
    auto [a, b] = connected_pair();
    a.set_io_timeout(10ms);
    char byte;
    error_code ec;
    const Instant start = Clock::now();
    EXPECT_EQ(a.read_some(buffer(&byte, 1), ec), 0u);
    EXPECT_EQ(ec, boost::asio::error::timed_out);
    EXPECT_GE(Clock::now(), start + 10ms);
    // Usable afterwards.
    b.write_some(buffer("x", 1));
    EXPECT_EQ(a.read_some(buffer(&byte, 1), ec), 1u);
    EXPECT_FALSE(ec);
  });
}

TEST_F(Sockets, WriteTimesOutWhenThePeerDoesNotRead) {
  run([] {
    auto [a, b] = connected_pair();
    a.set_io_timeout(10ms);
    const std::string data(1 << 20, 'x');
    error_code ec;
    while (!ec) a.write_some(buffer(data), ec);
    EXPECT_EQ(ec, boost::asio::error::timed_out);
  });
}

TEST_F(Sockets, DeadlineAndCancelEndARead) {
  run([] {
    auto [a, b] = connected_pair();
    Socket& reading = a;
    {
      DeadlineScope scope(Clock::now() + 5ms);
      char byte;
      EXPECT_THROW(reading.read_some(buffer(&byte, 1)), DeadlineExceeded);
    }
    Fiber reader = spawn("reader", [&reading] {
      char byte;
      reading.read_some(buffer(&byte, 1));
    });
    yield();
    reader.cancel();
    EXPECT_THROW(reader.join(), Cancelled);
  });
}

TEST_F(Sockets, CloseEndsTheReadOfAnotherFiber) {
  run([] {
    auto [a, b] = connected_pair();
    Socket& socket = a;
    error_code ec;
    Fiber reader = spawn("reader", [&] {
      char byte;
      socket.read_some(buffer(&byte, 1), ec);
    });
    yield();
    socket.close();
    reader.join();
    EXPECT_EQ(ec, boost::asio::error::operation_aborted);
  });
}

TEST_F(Sockets, ReadAndWriteOfAClosedSocketFail) {
  run([] {
    Socket socket;
    char byte = 'x';
    error_code ec;
    socket.read_some(buffer(&byte, 1), ec);
    EXPECT_EQ(ec, boost::asio::error::bad_descriptor);
    EXPECT_THROW(socket.write_some(buffer(&byte, 1)), boost::system::system_error);
    socket.close();
    socket.shutdown_send();
    EXPECT_EQ(socket.fd(), -1);
    EXPECT_TRUE(socket.stale());
  });
}

TEST_F(Sockets, WriteToAPeerThatHasGoneIsAnError) {
  run([] {
    auto [a, b] = connected_tcp();
    b.close();
    error_code ec;
    while (!ec) a.write_some(buffer("xxxx", 4), ec);
    EXPECT_TRUE(ec == boost::asio::error::broken_pipe || ec == boost::asio::error::connection_reset) << ec.message();
  });
}

TEST_F(Sockets, FourHundredConnectionsAtOnce) {
  run([] {
    Listener listener(kAnyPort, 1024);
    const Endpoint at = listener.endpoint();
    Fiber server = spawn("server", [&] {
      std::vector<Fiber> serving;
      for (int i = 0; i < 400; ++i) {
        Endpoint peer;
        auto socket = std::make_shared<Socket>(listener.accept(peer));
        serving.push_back(spawn("serving", [socket] {
          char data[8];
          boost::asio::read(*socket, buffer(data));
          sleep_for(5ms);
          boost::asio::write(*socket, buffer(data));
        }));
      }
      for (Fiber& fiber : serving) fiber.join();
    });
    std::vector<Fiber> clients;
    int right = 0;
    for (int i = 0; i < 400; ++i) {
      clients.push_back(spawn("client", [&, i] {
        error_code ec;
        Socket socket = Socket::connect(at, 5s, ec);
        ASSERT_FALSE(ec) << ec.message();
        std::string sent = std::to_string(10'000'000 + i), received(8, '\0');
        boost::asio::write(socket, buffer(sent));
        boost::asio::read(socket, buffer(received));
        if (sent == received) ++right;
      }));
    }
    for (Fiber& fiber : clients) fiber.join();
    server.join();
    EXPECT_EQ(right, 400);
  });
}

TEST(Endpoint, AsText) {
  EXPECT_EQ((Endpoint{"127.0.0.1", 80}.to_string()), "127.0.0.1:80");
  EXPECT_EQ((Endpoint{"::1", 80}.to_string()), "[::1]:80");
  EXPECT_EQ((Endpoint{"/run/x", 0}.to_string()), "/run/x");
}

}  // namespace
}  // namespace penstock::net
