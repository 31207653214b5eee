#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <string>

#include "penstock/fiber.h"
#include "runtime/net/socket.h"
#include "tests/unit/own_path.h"
#include "tests/unit/runtime/net/sockets.h"

namespace penstock::net {
namespace {

using namespace std::chrono_literals;
using boost::asio::buffer;

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

}  // namespace
}  // namespace penstock::net
