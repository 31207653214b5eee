#include "runtime/net/tls_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <boost/asio/error.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <string>
#include <utility>

#include "penstock/fiber.h"
#include "tests/unit/runtime/net/tls_pair.h"

namespace penstock::net {
namespace {

using namespace std::chrono_literals;
using boost::asio::buffer;
using ::testing::HasSubstr;

INSTANTIATE_TEST_SUITE_P(Over, Tls, testing::Bool(),
                         [](const auto& over) { return std::string(over.param ? "Socket" : "Stream"); });

TEST_P(Tls, BytesGoBothWays) {
  run_pair([](Pair& ends) {
    EXPECT_EQ(ends.client->alpn(), "http/1.1");
    EXPECT_EQ(ends.server->alpn(), "http/1.1");
    EXPECT_EQ(ends.server->server_name(), "localhost");
    EXPECT_EQ(ends.client->version(), "TLSv1.3");
    EXPECT_EQ(ends.client->peer_name(), "localhost");
    EXPECT_EQ(ends.server->peer_name(), "");
    boost::asio::write(*ends.client, std::array{buffer("hel", 3), buffer("lo", 2)});
    char first[2], rest[3];
    EXPECT_EQ(boost::asio::read(*ends.server, std::array{buffer(first), buffer(rest)}), 5u);
    EXPECT_EQ(std::string(first, 2) + std::string(rest, 3), "hello");
    boost::asio::write(*ends.server, buffer(rest));
    boost::asio::read(*ends.client, buffer(rest));
    EXPECT_EQ(std::string(rest, 3), "llo");
  });
}

TEST_P(Tls, OneFiberReadsWhileAnotherWrites) {
  run_pair([](Pair& ends) {
    std::string sent(3 * 1024 * 1024, '\0');
    for (std::size_t i = 0; i < sent.size(); ++i) sent[i] = static_cast<char>(i * 31 + i / 4099);
    Fiber echo = spawn("echo", [&] {
      std::string block(50'000, '\0');
      error_code ec;
      while (!ec) {
        block.resize(50'000);
        block.resize(ends.server->read_some(buffer(block), ec));
        if (!block.empty()) boost::asio::write(*ends.server, buffer(block));
      }
      EXPECT_EQ(ec, boost::asio::error::eof);
      ends.server->shutdown_send();
    });
    Fiber writer = spawn("writer", [&] {
      boost::asio::write(*ends.client, buffer(sent));
      ends.client->shutdown_send();
    });
    std::string received(sent.size(), '\0');
    boost::asio::read(*ends.client, buffer(received));
    EXPECT_EQ(received, sent);
    writer.join();
    echo.join();
    char byte;
    error_code ec;
    EXPECT_EQ(ends.client->read_some(buffer(&byte, 1), ec), 0u);
    EXPECT_EQ(ec, boost::asio::error::eof);
  });
}

TEST_P(Tls, AnEndWithoutTlssOwnEndIsAnError) {
  run_pair([](Pair& ends) {
    boost::asio::write(*ends.server, buffer("half of it", 10));
    // As whoever sits between the two could do it.
    ends.server_socket.shutdown_send();
    char data[10];
    boost::asio::read(*ends.client, buffer(data));
    error_code ec;
    EXPECT_EQ(ends.client->read_some(buffer(data), ec), 0u);
    EXPECT_EQ(ec, boost::asio::ssl::error::stream_truncated);
  });
}

TEST_P(Tls, AResetIsAnError) {
  run_pair([](Pair& ends) {
    const linger reset{1, 0};
    ::setsockopt(ends.server_socket.fd(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    ends.server_socket.close();
    char data[1];
    error_code ec;
    EXPECT_EQ(ends.client->read_some(buffer(data), ec), 0u);
    EXPECT_TRUE(ec == boost::asio::error::connection_reset) << ec.message();
  });
}

TEST_P(Tls, GarbageInAnEstablishedConnectionIsAnError) {
  run_pair([](Pair& ends) {
    boost::asio::write(ends.server_socket, buffer("this is no record of TLS", 24));
    char data[1];
    error_code ec;
    EXPECT_EQ(ends.client->read_some(buffer(data), ec), 0u);
    EXPECT_TRUE(ec && ec != boost::asio::error::eof) << ec.message();
  });
}

TEST_P(Tls, TimeoutDeadlineAndCancelEndARead) {
  run_pair([](Pair& ends) {
    char byte;
    error_code ec;
    ends.client->set_io_timeout(10ms);
    EXPECT_EQ(ends.client->read_some(buffer(&byte, 1), ec), 0u);
    EXPECT_EQ(ec, boost::asio::error::timed_out);
    ends.client->set_io_timeout(0ms);
    {
      const DeadlineScope scope(std::chrono::steady_clock::now() + 5ms);
      EXPECT_THROW(ends.client->read_some(buffer(&byte, 1)), DeadlineExceeded);
    }
    Fiber reader = spawn("reader", [&] {
      char byte;
      ends.client->read_some(buffer(&byte, 1));
    });
    yield();
    reader.cancel();
    EXPECT_THROW(reader.join(), Cancelled);
    // None of them has hurt it.
    boost::asio::write(*ends.server, buffer("x", 1));
    EXPECT_EQ(ends.client->read_some(buffer(&byte, 1)), 1u);
  });
}

TEST_P(Tls, AWriteToAPeerThatDoesNotReadTimesOut) {
  run_pair([](Pair& ends) {
    ends.client->set_io_timeout(20ms);
    const std::string data(1 << 20, 'x');
    error_code ec;
    while (!ec) ends.client->write_some(buffer(data), ec);
    EXPECT_EQ(ec, boost::asio::error::timed_out);
  });
}

TEST_P(Tls, CloseEndsTheReadOfAnotherFiber) {
  run_pair([](Pair& ends) {
    error_code ec, at_peer;
    Fiber reader = spawn("reader", [&] {
      char byte;
      ends.client->read_some(buffer(&byte, 1), ec);
    });
    yield();
    ends.client->close();
    reader.join();
    EXPECT_EQ(ec, boost::asio::error::operation_aborted);
    char byte;
    ends.client->read_some(buffer(&byte, 1), ec);
    EXPECT_EQ(ec, boost::asio::error::bad_descriptor);
    ends.server->read_some(buffer(&byte, 1), at_peer);
    if (GetParam()) {
      EXPECT_EQ(at_peer, boost::asio::error::eof);
    } else {
      // Over a stream that might wait nothing is said; and what the client had not read makes its end a reset.
      EXPECT_TRUE(at_peer == boost::asio::ssl::error::stream_truncated ||
                  at_peer == boost::asio::error::connection_reset)
          << at_peer;
    }
  });
}

TEST_P(Tls, PendingTellsOfWhatHasBeenReadAhead) {
  run_pair([](Pair& ends) {
    EXPECT_FALSE(ends.server->pending());
    boost::asio::write(*ends.client, buffer("ab", 2));
    char byte;
    ends.server->read_some(buffer(&byte, 1));
    EXPECT_TRUE(ends.server->pending());
    ends.server->read_some(buffer(&byte, 1));
    EXPECT_FALSE(ends.server->pending());
  });
}

TEST_P(Tls, ASlowHandshakeIsBoundedAsAWhole) {
  threads_.run([&] {
    const TlsServerContext context(server_options());
    auto [client, server] = connected_tcp();
    Fiber slow = spawn("slow client", [&client = client] {
      // The head of a record, and then a byte now and then: each well within any timeout between two reads.
      error_code ec;
      boost::asio::write(client, buffer("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11), ec);
      while (!ec) {
        sleep_for(10ms);
        client.write_some(buffer("x", 1), ec);
      }
    });
    TlsStream stream(server, context);
    const Instant start = std::chrono::steady_clock::now();
    try {
      stream.handshake(100ms);
      ADD_FAILURE() << "a handshake of nothing";
    } catch (const TlsError& e) {
      EXPECT_THAT(e.what(), HasSubstr("timed out"));
    }
    EXPECT_GE(std::chrono::steady_clock::now(), start + 100ms);
    stream.close();
    slow.join();
  });
}

TEST_P(Tls, ARecordThatComesSlowlyIsBoundedAsAWhole) {
  run_pair([](Pair& ends) {
    Fiber slow = spawn("slow", [&] {
      // The head of a record, and then a byte now and then: each well within any timeout between two reads.
      error_code ec;
      boost::asio::write(ends.client_socket, buffer("\x17\x03\x03\x04", 5), ec);
      for (int i = 0; i < 200 && !ec; ++i) {
        sleep_for(10ms);
        ends.client_socket.write_some(buffer("x", 1), ec);
      }
    });
    ends.server->set_io_timeout(100ms);
    const Instant start = std::chrono::steady_clock::now();
    char byte;
    error_code ec;
    EXPECT_EQ(ends.server->read_some(buffer(&byte, 1), ec), 0u);
    EXPECT_EQ(ec, boost::asio::error::timed_out);
    EXPECT_LT(std::chrono::steady_clock::now() - start, 1s);
    ends.server->close();
    slow.join();
  });
}

TEST_P(Tls, AnIdleConnectionIsStaleOnceThePeerHasSpokenOrGone) {
  run_pair([](Pair& ends) {
    // The ticket that waits to be read is no word of the peer.
    EXPECT_FALSE(ends.client->stale());
    if (!GetParam()) return;
    ends.server->close();
    const Instant give_up = std::chrono::steady_clock::now() + 5s;
    while (!ends.client->stale() && std::chrono::steady_clock::now() < give_up) sleep_for(1ms);
    EXPECT_TRUE(ends.client->stale());
  });
}

}  // namespace
}  // namespace penstock::net
