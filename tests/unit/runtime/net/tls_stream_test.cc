#include "runtime/net/tls_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <boost/asio/error.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/ssl/error.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <utility>

#include "penstock/fiber.h"
#include "runtime/net/socket.h"
#include "tests/unit/runtime/fiber/threads.h"
#include "tests/unit/runtime/net/certificates.h"
#include "tests/unit/runtime/net/sockets.h"

namespace penstock::net {
namespace {

using namespace std::chrono_literals;
using boost::asio::buffer;
using ::testing::HasSubstr;

// What is a stream and nothing more than that.
class PlainStream final : public Stream {
 public:
  explicit PlainStream(Stream& below) : below_(below) {}
  std::size_t read_parts(const iovec* parts, int count, error_code& ec) override {
    return below_.read_parts(parts, count, ec);
  }
  std::size_t write_parts(const iovec* parts, int count, error_code& ec) override {
    return below_.write_parts(parts, count, ec);
  }
  void set_io_timeout(Duration d) override { below_.set_io_timeout(d); }
  bool is_open() const override { return below_.is_open(); }
  void shutdown_send() override { below_.shutdown_send(); }
  void close() override { below_.close(); }

 private:
  Stream& below_;
};

// Each test runs over a socket, and over a stream of which nothing else is known.
class Tls : public testing::TestWithParam<bool> {
 protected:
  Tls() : server_certificate_(certificates_.make("localhost")) {}

  TlsServerOptions server_options() const { return {.certificates = {server_certificate_}}; }
  TlsClientOptions client_options() const { return {.ca_file = certificates_.ca()}; }

  // Both ends of a connection.
  struct Pair {
    Pair(bool over_sockets, TlsClientContext& client_context, const TlsServerContext& server_context,
         const std::string& host)
        : sockets(connected_tcp()), client_plain(client_socket), server_plain(server_socket) {
      client = std::make_unique<TlsStream>(over_sockets ? static_cast<Stream&>(client_socket) : client_plain,
                                           client_context, host);
      server = std::make_unique<TlsStream>(over_sockets ? static_cast<Stream&>(server_socket) : server_plain,
                                           server_context);
    }
    std::pair<Socket, Socket> sockets;
    Socket& client_socket = sockets.first;
    Socket& server_socket = sockets.second;
    PlainStream client_plain, server_plain;
    std::unique_ptr<TlsStream> client, server;
    std::string server_error;
  };
  Pair pair(TlsClientContext& client, const TlsServerContext& server, const std::string& host = "localhost") const {
    return Pair(GetParam(), client, server, host);
  }
  static void shake(Pair& pair) {
    Fiber serving = spawn("server", [&pair] {
      try {
        pair.server->handshake(5s);
      } catch (const TlsError& e) {
        pair.server_error = e.what();
        pair.server_socket.close();
      }
    });
    struct Join {
      ~Join() { fiber.join(); }
      Fiber& fiber;
    } join{serving};
    pair.client->handshake(5s);
  }
  // Why a client that asks for `host` refuses a server.
  std::string refusal(const TlsServerOptions& server, const TlsClientOptions& client,
                      const std::string& host = "localhost") {
    std::string why;
    threads_.run([&] {
      TlsClientContext client_context(client);
      const TlsServerContext server_context(server);
      Pair ends = pair(client_context, server_context, host);
      try {
        shake(ends);
      } catch (const TlsError& e) {
        why = e.what();
      }
    });
    return why;
  }
  void run_pair(const std::function<void(Pair&)>& fn) {
    threads_.run([&] {
      TlsClientContext client(client_options());
      const TlsServerContext server(server_options());
      Pair ends = pair(client, server);
      shake(ends);
      fn(ends);
    });
  }

  Certificates certificates_;
  const TlsCertificate server_certificate_;
  fiber::Threads threads_;
};

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

TEST_P(Tls, AServerThatHearsNoTlsSaysSo) {
  threads_.run([&] {
    const TlsServerContext context(server_options());
    auto [client, server] = connected_tcp();
    boost::asio::write(client, buffer("GET / HTTP/1.1\r\n\r\n", 18));
    TlsStream stream(server, context);
    try {
      stream.handshake(5s);
      ADD_FAILURE() << "a handshake in plain text";
    } catch (const TlsError& e) {
      EXPECT_THAT(e.what(), HasSubstr("http request"));
    }
  });
}

TEST_P(Tls, RefusesWhomItCannotVerify) {
  EXPECT_EQ(refusal(server_options(), client_options()), "");
  EXPECT_EQ(refusal(server_options(), client_options(), "127.0.0.1"), "");
  EXPECT_THAT(refusal(server_options(), client_options(), "example.test"), HasSubstr("hostname mismatch"));
  EXPECT_THAT(refusal(server_options(), client_options(), "127.0.0.2"), HasSubstr("IP address mismatch"));
  EXPECT_THAT(refusal(server_options(), {}), HasSubstr("unable to get local issuer certificate"));
  const auto expired = certificates_.make("expired", {.from = -7200, .to = -3600});
  EXPECT_THAT(refusal({.certificates = {expired}}, client_options()), HasSubstr("has expired"));
  const auto early = certificates_.make("early", {.from = 3600, .to = 7200});
  EXPECT_THAT(refusal({.certificates = {early}}, client_options()), HasSubstr("not yet valid"));
  const auto alone = certificates_.make("alone", {.self_signed = true});
  EXPECT_THAT(refusal({.certificates = {alone}}, client_options()), HasSubstr("self-signed"));
  EXPECT_EQ(refusal({.certificates = {alone}}, {.insecure_skip_verification = true}), "");
}

TEST_P(Tls, TheSystemsAuthoritiesAreThoseOfTheEnvironment) {
  ::setenv("SSL_CERT_FILE", certificates_.ca().c_str(), 1);
  EXPECT_EQ(refusal(server_options(), {}), "");
  ::unsetenv("SSL_CERT_FILE");
  EXPECT_NE(refusal(server_options(), {}), "");
}

TEST_P(Tls, AServerNameChoosesTheCertificate) {
  TlsServerOptions options{.certificates = {server_certificate_, certificates_.make("one", {.names = "DNS:one.test"}),
                                            certificates_.make("all", {.names = "DNS:*.all.test"})}};
  threads_.run([&] {
    const TlsServerContext server(options);
    TlsClientContext client(client_options());
    for (const auto& [host, name] : {std::pair("one.test", "one"), std::pair("x.all.test", "all"),
                                     std::pair("localhost", "localhost"), std::pair("127.0.0.1", "localhost")}) {
      Pair ends = pair(client, server, host);
      shake(ends);
      EXPECT_EQ(ends.client->peer_name(), name);
      EXPECT_EQ(ends.client->alpn(), "http/1.1");
    }
  });
}

TEST_P(Tls, ProtocolsMustMeet) {
  TlsClientOptions client = client_options();
  client.alpn = {"h2"};
  EXPECT_THAT(refusal(server_options(), client), HasSubstr("no application protocol"));
  client.alpn = {"h2", "http/1.1"};
  EXPECT_EQ(refusal(server_options(), client), "");
  client.alpn = {};
  EXPECT_EQ(refusal(server_options(), client), "");
}

TEST_P(Tls, ClientCertificates) {
  TlsServerOptions options = server_options();
  options.client_ca_file = certificates_.ca();
  threads_.run([&] {
    TlsClientOptions with = client_options();
    with.certificate = certificates_.make("a client", {.names = "DNS:client.test"});
    TlsClientContext client(with), client_without(client_options());
    const TlsServerContext wishing(options);
    options.require_client_certificate = true;
    const TlsServerContext demanding(options);
    {
      Pair ends = pair(client, demanding);
      shake(ends);
      EXPECT_EQ(ends.server->peer_name(), "a client");
    }
    {
      Pair ends = pair(client_without, wishing);
      shake(ends);
      EXPECT_EQ(ends.server->peer_name(), "");
    }
    // In TLS 1.3 a client learns of it when it reads.
    Pair ends = pair(client_without, demanding);
    shake(ends);
    EXPECT_THAT(ends.server_error, HasSubstr("peer did not return a certificate"));
    char byte;
    error_code ec;
    EXPECT_EQ(ends.client->read_some(buffer(&byte, 1), ec), 0u);
    EXPECT_THAT(ec.message(), HasSubstr("certificate required"));

    with.certificate = certificates_.make("a stranger", {.self_signed = true});
    TlsClientContext stranger(with);
    Pair strange = pair(stranger, wishing);
    shake(strange);
    EXPECT_THAT(strange.server_error, HasSubstr("self-signed"));
  });
}

TEST_P(Tls, SessionsAreResumed) {
  threads_.run([&] {
    const TlsServerContext server(server_options());
    TlsClientContext client(client_options());
    for (int i = 0; i < 3; ++i) {
      Pair ends = pair(client, server);
      shake(ends);
      EXPECT_EQ(ends.client->resumed(), i > 0);
      // A ticket comes ahead of the first answer.
      boost::asio::write(*ends.server, buffer("x", 1));
      char byte;
      boost::asio::read(*ends.client, buffer(&byte, 1));
    }
    TlsClientContext other(client_options());
    Pair ends = pair(other, server);
    shake(ends);
    EXPECT_FALSE(ends.client->resumed());
  });
}

TEST_P(Tls, OldVersionsAndRenegotiationAreOff) {
  TlsServerOptions options = server_options();
  options.min_version = TlsVersion::tls_1_3;
  threads_.run([&] {
    const TlsServerContext server(options);
    TlsClientContext client(client_options());
    SSL_CTX_set_max_proto_version(client.get(), TLS1_2_VERSION);
    Pair ends = pair(client, server);
    EXPECT_THROW(shake(ends), TlsError);
    EXPECT_THAT(ends.server_error, HasSubstr("unsupported protocol"));
  });
  threads_.run([&] {
    const TlsServerContext server(server_options());
    TlsClientContext client(client_options());
    SSL_CTX_set_max_proto_version(client.get(), TLS1_2_VERSION);
    Pair ends = pair(client, server);
    shake(ends);
    EXPECT_EQ(ends.client->version(), "TLSv1.2");
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
