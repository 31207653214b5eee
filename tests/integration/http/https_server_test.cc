#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdlib.h>

#include <atomic>
#include <chrono>
#include <optional>
#include <string>

#include "penstock/http.h"
#include "penstock/runtime.h"
#include "tests/integration/http/command.h"
#include "tests/unit/runtime/http/raw_socket.h"
#include "tests/unit/runtime/http/running_runtime.h"
#include "tests/unit/runtime/net/certificates.h"

namespace penstock::http {
namespace {

using std::chrono::milliseconds;
using ::testing::HasSubstr;
using ::testing::Not;

// Our server, spoken to by curl and OpenSSL.
class HttpsServer : public ::testing::Test {
 protected:
  void serve(net::TlsServerOptions tls, ServerOptions options = {}) {
    options.port = 0;
    options.tls = std::move(tls);
    server.emplace(*runtime, options);
    server->route("GET", "/who", [](const Request& r) {
      return Response::text((r.secure() ? "secure " : "plain ") + r.certificate_name());
    });
    server->route("POST", "/size", [](const Request& r) { return Response::text(std::to_string(r.body().size())); });
    server->route("GET", "/large", [](const Request&) { return Response::text(std::string(3'000'000, 'x')); });
    server->route("GET", "/pieces", [](Exchange& exchange) {
      exchange.start(200, {});
      exchange.write("all of it");
    });
    runtime.start();
  }
  std::string url(const std::string& path, const std::string& host = "localhost") const {
    return " https://" + host + ":" + std::to_string(server->port()) + path;
  }
  Said curl(const std::string& arguments) const {
    return run_command("curl -sS --max-time 10 --cacert " + certificates.ca() +
                       " --resolve '*:" + std::to_string(server->port()) + ":127.0.0.1' " + arguments + " 2>&1");
  }
  double failed_handshakes() {
    return runtime->metrics().counter("penstock_tls_handshake_failures_total", "", {}).value();
  }

  net::Certificates certificates;
  RunningRuntime runtime{2};
  std::optional<Server> server;
};

TEST_F(HttpsServer, ServesKeptConnectionsInBothDirections) {
  serve({.certificates = {certificates.make("localhost")}});
  EXPECT_EQ(curl(url("/who") + url("/who")).text, "secure secure ");
  const Said verbose = curl("-v" + url("/who") + url("/who"));
  EXPECT_THAT(verbose.text, HasSubstr("ALPN: server accepted http/1.1"));
  EXPECT_THAT(verbose.text, HasSubstr("Re-using existing connection"));
  EXPECT_EQ(run_command("head -c 900000 /dev/zero | curl -sS --cacert " + certificates.ca() + " --data-binary @-" +
                        url("/size"))
                .text,
            "900000");
  EXPECT_EQ(run_command("curl -sS --cacert " + certificates.ca() + url("/large") + " | wc -c").text, "3000000\n");
}

TEST_F(HttpsServer, SaysWhereAnAnswerEndsThatOnlyItsConnectionsEndDelimits) {
  serve({.certificates = {certificates.make("localhost")}});
  const Said said = curl("--http1.0 --no-alpn" + url("/pieces"));
  EXPECT_EQ(said.text, "all of it");
  EXPECT_EQ(said.exit, 0);
}

TEST_F(HttpsServer, IdleConnectionsHoldNoFiber) {
  serve({.certificates = {certificates.make("localhost")}});
  ASSERT_TRUE(eventually([&] { return runtime->stats().fibers >= 6; }));
  const auto at_rest = runtime->stats().fibers;
  ::setenv("SSL_CERT_FILE", certificates.ca().c_str(), 1);
  RunningRuntime other;
  Client client(*other);
  other.start();
  const std::string secure_url = "https://localhost:" + std::to_string(server->port()) + "/who";
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(other.on_fiber([&] { return client.get(secure_url).body; }), "secure ");
    EXPECT_TRUE(eventually([&] { return runtime->stats().fibers == at_rest; })) << runtime->stats().fibers;
  }
  ::unsetenv("SSL_CERT_FILE");
}

TEST_F(HttpsServer, ChoosesTheCertificateByName) {
  serve({.certificates = {certificates.make("localhost"), certificates.make("shop", {.names = "DNS:shop.test"})}});
  EXPECT_EQ(curl(url("/who", "shop.test")).text, "secure ");
  EXPECT_EQ(curl(url("/who", "localhost")).text, "secure ");
  EXPECT_THAT(curl(url("/who", "other.test")).text, HasSubstr("no alternative certificate subject name matches"));
}

TEST_F(HttpsServer, AsksForCertificatesOfClients) {
  const auto mine = certificates.make("alice");
  serve({.certificates = {certificates.make("localhost")},
         .client_ca_file = certificates.ca(),
         .require_client_certificate = true});
  EXPECT_EQ(curl("--cert " + mine.certificate_file + " --key " + mine.key_file + url("/who")).text, "secure alice");
  EXPECT_NE(curl(url("/who")).exit, 0);
  EXPECT_TRUE(eventually([&] { return failed_handshakes() >= 1; }));
}

TEST_F(HttpsServer, TakesNewCertificatesAndKeepsGoodOnes) {
  const auto tls = certificates.make("localhost", {.names = "DNS:old.test"});
  serve({.certificates = {tls}, .reload_interval = milliseconds(20)});
  EXPECT_EQ(curl(url("/who", "old.test")).text, "secure ");
  certificates.make("localhost", {.names = "DNS:new.test"});
  EXPECT_TRUE(eventually([&] { return curl(url("/who", "new.test")).text == "secure "; }));

  certificates.write_text("localhost.pem", "garbage");
  EXPECT_THROW(server->reload_certificates(), std::invalid_argument);
  EXPECT_EQ(curl(url("/who", "new.test")).text, "secure ");
  EXPECT_THAT(runtime->metrics().text(), HasSubstr("penstock_tls_certificate_expiry_seconds{address=\"127.0.0.1:"));
}

TEST_F(HttpsServer, LeavesThoseWhoDoNotSpeakIt) {
  serve({.certificates = {certificates.make("localhost")}}, {.header_timeout = milliseconds(200)});
  RawSocket plain = RawSocket::connect(server->port());
  plain.send("GET /who HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_THAT(plain.read_to_end(), Not(HasSubstr("HTTP/1.1")));
  EXPECT_TRUE(eventually([&] { return failed_handshakes() == 1; }));

  // One that says the beginning of a handshake and no more, and one that says nothing at all.
  RawSocket slow = RawSocket::connect(server->port());
  slow.send("\x16\x03\x01");
  RawSocket silent = RawSocket::connect(server->port());
  EXPECT_EQ(curl(url("/who")).text, "secure ");
  slow.read_to_end();
  silent.read_to_end();
  EXPECT_TRUE(eventually([&] { return failed_handshakes() == 3; }));
  EXPECT_EQ(run_command("openssl s_client -alpn h2 -connect localhost:" + std::to_string(server->port()) +
                        " </dev/null 2>&1 | grep -c 'no application protocol'")
                .text,
            "1\n");
}

TEST_F(HttpsServer, LearnsFromAProxyWhoTheClientIs) {
  server.emplace(
      *runtime,
      ServerOptions{.port = 0, .tls = net::TlsServerOptions{{certificates.make("localhost")}}, .proxy_protocol = true});
  server->route("GET", "/peer", [](const Request& r) { return Response::text(std::string(r.peer())); });
  runtime.start();
  EXPECT_THAT(curl("--haproxy-protocol" + url("/peer")).text, HasSubstr("127.0.0.1:"));
  // Without its header it is no connection at all.
  EXPECT_NE(curl(url("/peer")).exit, 0);
}

TEST_F(HttpsServer, ASlowHeaderIsBoundedAsAWhole) {
  serve({.certificates = {certificates.make("localhost")}}, {.header_timeout = milliseconds(300)});
  const auto start = std::chrono::steady_clock::now();
  const Said said = run_command(
      "(printf 'GET /who HTTP/1.1\\r\\n'; for i in $(seq 200); do printf x || exit; sleep 0.05; done) 2>/dev/null"
      " | openssl s_client -quiet -connect localhost:" +
      std::to_string(server->port()) + " 2>/dev/null");
  EXPECT_THAT(said.text, HasSubstr(" 408 "));
  EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::seconds(8));
}

TEST_F(HttpsServer, CancelsWhatAClientNoLongerWaitsFor) {
  std::atomic<int> cancelled{0};
  server.emplace(*runtime, ServerOptions{.port = 0, .tls = net::TlsServerOptions{{certificates.make("localhost")}}});
  server->route("GET", "/held", [&](const Request&) -> Response {
    try {
      sleep_for(std::chrono::seconds(60));
    } catch (const Cancelled&) {
      ++cancelled;
      throw;
    }
    return {};
  });
  runtime.start();
  EXPECT_NE(run_command("curl -sS --max-time 0.3 --cacert " + certificates.ca() + url("/held") + " 2>&1").exit, 0);
  EXPECT_TRUE(eventually([&] { return cancelled == 1; }));
}

TEST_F(HttpsServer, RefusesFilesThatAreOfNoUse) {
  const auto made = certificates.make("localhost");
  const auto other = certificates.make("other");
  const auto message = [&](net::TlsServerOptions tls) {
    try {
      Server(*runtime, {.port = 0, .tls = std::move(tls)});
    } catch (const std::invalid_argument& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_THAT(message({}), HasSubstr("certificates"));
  EXPECT_THAT(message({.certificates = {{"/no/such.pem", made.key_file}}}), HasSubstr("/no/such.pem"));
  EXPECT_THAT(message({.certificates = {{made.certificate_file, other.key_file}}}), HasSubstr("other.key"));
  EXPECT_THAT(message({.certificates = {made}, .require_client_certificate = true}), HasSubstr("client_ca_file"));
}

}  // namespace
}  // namespace penstock::http
