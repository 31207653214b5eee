#include "runtime/net/socket.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <boost/asio/error.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "penstock/fiber.h"
#include "tests/unit/own_path.h"
#include "tests/unit/runtime/fiber/threads.h"

namespace penstock::net {
namespace {

using namespace std::chrono_literals;
using boost::asio::buffer;
using Clock = std::chrono::steady_clock;

const Endpoint kAnyPort{"127.0.0.1", 0};

std::size_t open_descriptors() {
  std::size_t n = 0;
  for ([[maybe_unused]] const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) ++n;
  return n;
}

// Both ends of a connection, within one fiber's thread.
std::pair<Socket, Socket> connected_pair() {
  int fds[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) != 0) std::abort();
  return {Socket(fds[0]), Socket(fds[1])};
}

std::pair<Socket, Socket> connected_tcp() {
  Listener listener(kAnyPort, 10);
  error_code ec;
  Socket client = Socket::connect(listener.endpoint(), 5s, ec);
  EXPECT_FALSE(ec) << ec.message();
  Endpoint peer;
  Socket server = listener.accept(peer);
  return {std::move(client), std::move(server)};
}

// Threads with a scheduler each; no descriptor is left at the end.
class Sockets : public testing::Test {
 protected:
  Sockets() : descriptors_(open_descriptors()), threads_(std::make_unique<fiber::Threads>(2)) {}
  ~Sockets() override {
    threads_.reset();
    EXPECT_EQ(open_descriptors(), descriptors_);
  }
  void run(std::function<void()> fn) { threads_->run(std::move(fn)); }

  std::size_t descriptors_;
  std::unique_ptr<fiber::Threads> threads_;
};

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

TEST_F(Sockets, UnixSocket) {
  run([] {
    const std::string path = own_path("socket");
    {
      Listener listener({path, 0}, 10);
      EXPECT_EQ(listener.endpoint().host, path);
      error_code ec;
      Socket client = Socket::connect({path, 0}, 1s, ec);
      ASSERT_FALSE(ec) << ec.message();
      Endpoint peer;
      Socket server = listener.accept(peer);
      client.write_some(buffer("x", 1));
      char byte;
      EXPECT_EQ(server.read_some(buffer(&byte, 1)), 1u);
    }
    EXPECT_FALSE(std::filesystem::exists(path));
  });
}

TEST_F(Sockets, ThreadsShareAPort) {
  Listener first(kAnyPort, 100);
  Listener second(first.endpoint(), 100);
  EXPECT_EQ(first.endpoint(), second.endpoint());
}

TEST_F(Sockets, ListenerThatCannotBindSaysWhere) {
  try {
    Listener listener({"192.0.2.1", 80}, 1);
    FAIL();
  } catch (const boost::system::system_error& e) {
    EXPECT_NE(std::string(e.what()).find("192.0.2.1:80"), std::string::npos);
  }
}

TEST_F(Sockets, CancelEndsAcceptAndTheListenerCanBeDestroyedElsewhere) {
  Listener listener(kAnyPort, 1);
  run([&] {
    Fiber acceptor = spawn("acceptor", [&] {
      Endpoint peer;
      listener.accept(peer);
    });
    yield();
    acceptor.cancel();
    EXPECT_THROW(acceptor.join(), Cancelled);
  });
}

TEST_F(Sockets, AcceptGoesOnAfterDescriptorsWereExhausted) {
#ifdef __SANITIZE_ADDRESS__
  GTEST_SKIP()
      << "UndefinedBehaviorSanitizer looks at objects through a pipe, and calls them invalid when it gets none";
#endif
  rlimit before;
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  run([&] {
    Listener listener(kAnyPort, 10);
    bool accepted = false;
    error_code ec;
    Socket client = Socket::connect(listener.endpoint(), 5s, ec);
    ASSERT_FALSE(ec);
    // The lowest free number is one too many.
    const int lowest = ::dup(0);
    ::close(lowest);
    rlimit few = before;
    few.rlim_cur = static_cast<rlim_t>(lowest);
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &few), 0);
    Fiber acceptor = spawn("acceptor", [&] {
      Endpoint peer;
      const Socket socket = listener.accept(peer);
      accepted = true;
    });
    sleep_for(30ms);
    EXPECT_FALSE(accepted);
    ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &before), 0);
    acceptor.join();
    EXPECT_TRUE(accepted);
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
