#include <gtest/gtest.h>

#include <boost/asio/error.hpp>
#include <chrono>
#include <vector>

#include "penstock/fiber.h"
#include "runtime/net/socket.h"
#include "tests/unit/runtime/net/sockets.h"

namespace penstock::net {
namespace {

using namespace std::chrono_literals;

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

}  // namespace
}  // namespace penstock::net
