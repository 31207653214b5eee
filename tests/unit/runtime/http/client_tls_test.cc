#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/ssl.h>

#include <array>
#include <atomic>
#include <boost/asio/buffer.hpp>
#include <boost/asio/error.hpp>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <thread>

#include "runtime/net/socket.h"
#include "runtime/net/tls_context.h"
#include "runtime/net/tls_stream.h"
#include "tests/unit/runtime/http/client_fixture.h"
#include "tests/unit/runtime/net/certificates.h"

namespace penstock::http {
namespace {

using namespace std::chrono_literals;
using ::testing::HasSubstr;

// Our server behind TLS, as the upstream "A" under any name: connections go to a Unix socket whatever the URL says.
class HttpsCalls : public ClientTest {
 protected:
  void serve(net::TlsServerOptions tls) {
    use_policy({{.hosts = {"*.test", "localhost", "127.0.0.1"}, .retry_budget = 0}});
    server.emplace(*runtime, ServerOptions{.port = 0, .tls = tls});
    local.emplace(*runtime, ServerOptions{.address = path, .tls = tls});
    for (auto* each : {&*server, &*local}) {
      each->route("POST", "/echo", [this](const Request& r) {
        ++served;
        return Response::text(std::string(r.body()));
      });
      each->route("GET", "/peer", [](const Request& r) { return Response::text(std::string(r.peer())); });
      each->route("GET", "/upgrade", [this](Exchange& exchange) {
        const auto stream = exchange.upgrade({{"Upgrade", "echo"}});
        std::array<char, 64> block;
        boost::system::error_code ec;
        while (true) {
          const std::size_t n = stream->read_some(boost::asio::buffer(block), ec);
          if (ec) break;
          stream->write_some(boost::asio::buffer(block, n), ec);
        }
        ended_as = ec;
      });
    }
    runtime.start();
  }
  ~HttpsCalls() override { runtime.stop(); }
  std::string url(const std::string& host) const {
    return "https://" + host + ":" + std::to_string(server->port()) + "/echo";
  }
  ClientOptions trusting() const { return {.tls = {.ca_file = certificates.ca()}}; }
  ClientOptions trusting_locally() const { return {.unix_socket = path, .tls = {.ca_file = certificates.ca()}}; }
  std::string refusal(const ClientOptions& options, const std::string& host) {
    Client client(*runtime, options);
    return runtime.on_fiber([&] { return error_of<CallError>([&] { client.post(url(host), "x"); }); });
  }
  std::string answer(const ClientOptions& options, const std::string& host) {
    Client client(*runtime, options);
    return runtime.on_fiber([&] { return client.post(url(host), "x").body; });
  }

  net::Certificates certificates;
  const std::string path = certificates.path("socket");
  std::atomic<int> served{0};
  // Of what came after an upgrade; touched on the server's thread, and when it has ended.
  boost::system::error_code ended_as;
  std::optional<Server> server, local;
};

TEST_F(HttpsCalls, AreRefusedToWhomNoAuthorityVouchesFor) {
  serve({.certificates = {certificates.make("localhost")}});
  EXPECT_THAT(refusal({}, "localhost"), HasSubstr("upstream A: tls handshake with localhost:"));
  EXPECT_EQ(served, 0) << "nothing was sent";
  EXPECT_EQ(counted("error"), 1);
  EXPECT_EQ(log.count("call failed upstream=A outcome=error"), 1u);
  EXPECT_EQ(answer(trusting(), "localhost"), "x");
  EXPECT_EQ(answer(trusting(), "127.0.0.1"), "x") << "an address in the certificate";
}

TEST_F(HttpsCalls, AreRefusedToAnotherHost) {
  serve({.certificates = {certificates.make("pay", {.names = "DNS:pay.test,DNS:*.shops.test"})}});
  EXPECT_EQ(answer(trusting_locally(), "pay.test"), "x");
  EXPECT_EQ(answer(trusting_locally(), "PAY.test"), "x");
  EXPECT_EQ(answer(trusting_locally(), "a.shops.test"), "x");
  for (const char* host : {"other.test", "pay.test.test", "a.b.shops.test", "localhost", "127.0.0.1"}) {
    EXPECT_THAT(refusal(trusting_locally(), host), HasSubstr("mismatch")) << host;
  }
  EXPECT_EQ(served, 3);
}

TEST_F(HttpsCalls, AreRefusedWithACertificateOutOfDate) {
  serve({.certificates = {certificates.make("localhost", {.from = -7200, .to = -3600})}});
  EXPECT_THAT(refusal(trusting(), "localhost"), HasSubstr("expired"));
}

TEST_F(HttpsCalls, NameTheHostThatTheyAskFor) {
  serve({.certificates = {certificates.make("first", {.names = "DNS:first.test"}),
                          certificates.make("second", {.names = "DNS:second.test"})}});
  EXPECT_EQ(answer(trusting_locally(), "second.test"), "x") << "which the server only finds by its name";
  EXPECT_EQ(answer(trusting_locally(), "first.test"), "x");
}

TEST_F(HttpsCalls, ShowTheirCertificate) {
  serve({.certificates = {certificates.make("localhost")},
         .client_ca_file = certificates.ca(),
         .require_client_certificate = true});
  ClientOptions options = trusting();
  // With TLS 1.3 a client learns of it when it reads.
  refusal(options, "localhost");
  EXPECT_EQ(served, 0);
  options.tls.certificate = certificates.make("client");
  EXPECT_EQ(answer(options, "localhost"), "x");
}

TEST_F(HttpsCalls, CanDoWithoutVerification) {
  serve({.certificates = {certificates.make("other", {.names = "DNS:other.test", .self_signed = true})}});
  EXPECT_EQ(answer({.tls = {.insecure_skip_verification = true}}, "localhost"), "x");
  EXPECT_TRUE(log.has("insecure_skip_verification"));
}

TEST_F(HttpsCalls, AreKeptAndGoInPieces) {
  serve({.certificates = {certificates.make("localhost")}});
  Client client(*runtime, trusting());
  runtime.on_fiber([&] {
    const std::string peer = "https://localhost:" + std::to_string(server->port()) + "/peer";
    const std::string first = client.get(peer).body;
    const std::string large(700'000, 'x');
    EXPECT_EQ(client.post(url("localhost"), large).body, large);
    ClientExchange exchange = client.open("POST", url("localhost"), {}, BodyLength::unknown());
    for (int i = 0; i < 20; ++i) EXPECT_TRUE(exchange.write(std::string_view(large).substr(0, 30'000)));
    exchange.finish();
    EXPECT_EQ(read_all(exchange, 7'000).size(), 600'000u);
    EXPECT_EQ(client.get(peer).body, first) << "all of it on one connection";
  });
}

TEST_F(HttpsCalls, MayBecomeAnotherProtocol) {
  serve({.certificates = {certificates.make("localhost")}});
  net::TlsClientContext context({.ca_file = certificates.ca()});
  runtime.on_fiber([&] {
    boost::system::error_code ec;
    net::Socket socket = net::Socket::connect({"127.0.0.1", server->port()}, 5s, ec);
    ASSERT_FALSE(ec) << ec.message();
    net::TlsStream tls(socket, context, "localhost");
    tls.handshake(5s);
    const auto read_until = [&](std::string_view end) {
      std::string all;
      std::array<char, 1000> block;
      while (!ec && !all.ends_with(end)) all.append(block.data(), tls.read_some(boost::asio::buffer(block), ec));
      return all;
    };
    // The first words of the new protocol come with the request, in the same record.
    const std::string_view request =
        "GET /upgrade HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nahead";
    tls.write_some(boost::asio::buffer(request), ec);
    const std::string head = read_until("\r\n\r\nahead");
    EXPECT_THAT(head, HasSubstr("HTTP/1.1 101 Switching Protocols\r\n"));
    EXPECT_THAT(head, HasSubstr("Upgrade: echo\r\n"));
    // More than a record holds, both ways.
    const std::string more(20'000, 'm');
    Fiber writer = spawn("writer", [&] {
      for (std::string_view rest = more; !rest.empty();) {
        boost::system::error_code failed;
        rest.remove_prefix(tls.write_some(boost::asio::buffer(rest), failed));
        ASSERT_FALSE(failed) << failed.message();
      }
    });
    std::string echo;
    std::array<char, 1000> block;
    while (!ec && echo.size() < more.size()) echo.append(block.data(), tls.read_some(boost::asio::buffer(block), ec));
    writer.join();
    EXPECT_EQ(echo, more);
    tls.shutdown_send();
    EXPECT_EQ(read_until("nothing"), "");
    EXPECT_EQ(ec, boost::asio::error::eof);
  });
  runtime.stop();
  EXPECT_EQ(ended_as, boost::asio::error::eof) << "it was told, not cut off";
}

TEST_F(HttpsCalls, RefuseOptionsOfNoUse) {
  const auto refused = [&](ClientOptions options, const char* why) {
    EXPECT_THAT(error_of<std::invalid_argument>([&] { Client(*runtime, options); }), HasSubstr(why));
  };
  refused({.tls = {.ca_file = "/nowhere"}}, "ca_file");
  refused({.tls = {.certificate = {.certificate_file = certificates.ca()}}}, "key_file");
  refused({.tls = {.alpn = {"h2", "http/1.1"}}}, "tls.alpn");
  refused({.tls = {.alpn = {""}}}, "tls.alpn");
  refused({.unix_socket = "relative"}, "unix_socket");
  refused({.unix_socket = "/" + std::string(200, 'x')}, "unix_socket");
  refused({.max_connections = -1}, "max_connections");
}

TEST_F(HttpsCalls, RefuseNamesThatCannotBeAskedFor) {
  serve({.certificates = {certificates.make("localhost")}});
  EXPECT_THAT(refusal(trusting_locally(), std::string(300, 'x') + ".test"), HasSubstr("is not a host name"));
}

// A TLS server that does what a script says after the handshake.
class RawTls {
 public:
  RawTls(RawSocket& socket, const net::TlsCertificate& certificate)
      : context_(SSL_CTX_new(TLS_server_method()), SSL_CTX_free), ssl_(nullptr, SSL_free) {
    SSL_CTX_use_certificate_chain_file(context_.get(), certificate.certificate_file.c_str());
    SSL_CTX_use_PrivateKey_file(context_.get(), certificate.key_file.c_str(), SSL_FILETYPE_PEM);
    ssl_.reset(SSL_new(context_.get()));
    SSL_set_fd(ssl_.get(), socket.fd());
    shaken = SSL_accept(ssl_.get()) == 1;
  }
  std::string read_until(std::string_view end) {
    std::string all;
    char c;
    while (all.find(end) == all.npos && SSL_read(ssl_.get(), &c, 1) == 1) all += c;
    return all;
  }
  void send(std::string_view text) { SSL_write(ssl_.get(), text.data(), static_cast<int>(text.size())); }
  void read_to_end() {
    char block[1000];
    while (SSL_read(ssl_.get(), block, sizeof block) > 0) {
    }
  }
  bool shaken = false;

 private:
  std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> context_;
  std::unique_ptr<SSL, void (*)(SSL*)> ssl_;
};

class HttpsBadDays : public ClientTest {
 protected:
  static std::string https(const RawServer& upstream) { return "https://localhost" + upstream.url().substr(16); }
  void start_tls() { start({.hosts = {"localhost"}, .retry_budget = 0}); }

  net::Certificates certificates;
  const net::TlsCertificate certificate = certificates.make("localhost");
};

// Whoever cuts the line must not be able to pass off half of a body for all of it.
TEST_F(HttpsBadDays, ABodyThatEndsWithoutTlsEndIsShort) {
  start_tls();
  RawServer upstream([&](RawSocket& socket, int) {
    RawTls tls(socket, certificate);
    tls.read_until("\r\n\r\n");
    tls.send("HTTP/1.0 200 OK\r\n\r\nhalf of");
  });
  Client client(*runtime, {.tls = {.ca_file = certificates.ca()}});
  runtime.on_fiber([&] { EXPECT_THROW(client.get(https(upstream)), CallError); });
  EXPECT_EQ(counted("error"), 1);
}

TEST_F(HttpsBadDays, NothingIsReadThatWasSentWhileIdle) {
  start_tls();
  std::atomic<bool> more{false};
  RawServer upstream([&](RawSocket& socket, int number) {
    RawTls tls(socket, certificate);
    tls.read_until("\r\n\r\n");
    tls.send(ok("mine"));
    if (number == 0 && eventually([&] { return more.load(); })) {
      tls.send(ok("another's"));
      more = false;
    }
    tls.read_to_end();
  });
  Client client(*runtime, {.tls = {.ca_file = certificates.ca()}});
  runtime.on_fiber([&] {
    EXPECT_EQ(client.get(https(upstream)).body, "mine");
    sleep_for(5ms);
    more = true;
    while (more) std::this_thread::yield();
    std::this_thread::sleep_for(2ms);
    EXPECT_EQ(client.get(https(upstream)).body, "mine");
  });
  EXPECT_EQ(upstream.accepted(), 2);
  EXPECT_EQ(runtime->metrics().total("penstock_http_client_unasked_total", {{"upstream", "A"}}), 1);
}

TEST_F(HttpsBadDays, AHandshakeThatIsNeverAnswered) {
  start_tls();
  RawServer upstream([](RawSocket& socket, int) { socket.read_to_end(); });
  Client client(*runtime, {.connect_timeout = 100ms});
  runtime.on_fiber(
      [&] { EXPECT_THAT(error_of<CallError>([&] { client.get(https(upstream)); }), HasSubstr("timed out")); });
  EXPECT_EQ(counted("error"), 1);
}

TEST_F(HttpsBadDays, AServerThatSpeaksNoTls) {
  start_tls();
  RawServer upstream([](RawSocket& socket, int) {
    socket.send("HTTP/1.1 400 Bad Request\r\n\r\n");
    socket.read_to_end();
  });
  Client client(*runtime);
  runtime.on_fiber([&] { EXPECT_THROW(client.get(https(upstream)), CallError); });
  EXPECT_EQ(log.count("call failed upstream=A outcome=error"), 1u);
}

class HttpOverUnixSockets : public ClientTest {};

TEST_F(HttpOverUnixSockets, UrlsChooseHostAndUpstream) {
  const net::Certificates folder;
  use_policy({{.name = "A", .hosts = {"docker"}}, {.name = "B", .hosts = {"other"}}});
  Client client(*runtime, {.unix_socket = folder.path("socket")});
  Client nowhere(*runtime, {.unix_socket = folder.path("none")});
  Server server(*runtime, {.address = folder.path("socket")});
  server.route("GET", "/host", [](const Request& r) { return Response::text(std::string(r.header("Host"))); });
  runtime.start();
  runtime.on_fiber([&] {
    EXPECT_EQ(client.get("http://docker/host").body, "docker");
    EXPECT_EQ(client.get("http://docker/host").body, "docker");
    EXPECT_EQ(client.get("http://other:99/host").body, "other:99");
    EXPECT_THAT(error_of<CallError>([&] { nowhere.get("http://docker/host"); }), HasSubstr(folder.path("none")));
  });
  EXPECT_EQ(counted("ok", "A"), 2);
  EXPECT_EQ(counted("ok", "B"), 1);
  EXPECT_EQ(counted("error", "A"), 2) << "with its retry";
  runtime.stop();
}

}  // namespace
}  // namespace penstock::http
