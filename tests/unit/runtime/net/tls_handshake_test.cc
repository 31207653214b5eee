#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <boost/asio/error.hpp>
#include <boost/asio/read.hpp>
#include <boost/asio/write.hpp>
#include <chrono>
#include <cstdlib>
#include <string>
#include <utility>

#include "penstock/fiber.h"
#include "tests/unit/runtime/net/tls_pair.h"

namespace penstock::net {
namespace {

using namespace std::chrono_literals;
using boost::asio::buffer;
using ::testing::HasSubstr;

class TlsHandshake : public Tls {};

INSTANTIATE_TEST_SUITE_P(Over, TlsHandshake, testing::Bool(),
                         [](const auto& over) { return std::string(over.param ? "Socket" : "Stream"); });

TEST_P(TlsHandshake, AServerThatHearsNoTlsSaysSo) {
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

TEST_P(TlsHandshake, RefusesWhomItCannotVerify) {
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

TEST_P(TlsHandshake, TheSystemsAuthoritiesAreThoseOfTheEnvironment) {
  ::setenv("SSL_CERT_FILE", certificates_.ca().c_str(), 1);
  EXPECT_EQ(refusal(server_options(), {}), "");
  ::unsetenv("SSL_CERT_FILE");
  EXPECT_NE(refusal(server_options(), {}), "");
}

TEST_P(TlsHandshake, AServerNameChoosesTheCertificate) {
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

TEST_P(TlsHandshake, ProtocolsMustMeet) {
  TlsClientOptions client = client_options();
  client.alpn = {"h2"};
  EXPECT_THAT(refusal(server_options(), client), HasSubstr("no application protocol"));
  client.alpn = {"h2", "http/1.1"};
  EXPECT_EQ(refusal(server_options(), client), "");
  client.alpn = {};
  EXPECT_EQ(refusal(server_options(), client), "");
}

TEST_P(TlsHandshake, ClientCertificates) {
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

TEST_P(TlsHandshake, SessionsAreResumed) {
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

TEST_P(TlsHandshake, OldVersionsAndRenegotiationAreOff) {
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

}  // namespace
}  // namespace penstock::net
