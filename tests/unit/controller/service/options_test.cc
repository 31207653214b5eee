#include "controller/options.h"

#include <gtest/gtest.h>

#include <fstream>

#include "tests/unit/controller/temporary_directory.h"

namespace penstock::controller {
namespace {

Options plain() {
  Options options;
  options.data = "/tmp/data";
  return options;
}

std::string refusal(const Options& options) {
  auto settings = understand(options);
  return settings.ok() ? "" : std::string(settings.status().message());
}

TEST(Options, DefaultsListenOnLoopback) {
  auto settings = understand(plain());
  ASSERT_TRUE(settings.ok()) << settings.status();
  EXPECT_TRUE(settings->grpc.loopback());
  EXPECT_TRUE(settings->http.loopback());
  EXPECT_FALSE(settings->tls());
  EXPECT_EQ(settings->lease_ttl, std::chrono::seconds(15));
  EXPECT_EQ(settings->decision_retention, std::chrono::hours(168));
  EXPECT_EQ(settings->history, std::chrono::hours(672));
}

TEST(Options, HistoryIsADayToFourWeeksOrNone) {
  Options options = plain();
  options.history = "0";
  EXPECT_EQ(understand(options)->history, std::chrono::hours(0));
  options.history = "48h";
  EXPECT_EQ(understand(options)->history, std::chrono::hours(48));
  for (const char* wrong : {"1h", "673h", "-24h", "a week", ""}) {
    options.history = wrong;
    EXPECT_NE(refusal(options).find("--history: "), std::string::npos) << wrong;
  }
}

TEST(Options, KnowsLoopback) {
  for (const char* address : {"127.0.0.1:1", "127.9.9.9:1", "localhost:1", "[::1]:1"}) {
    auto parsed = HostPort::parse("--grpc", address);
    ASSERT_TRUE(parsed.ok()) << address;
    EXPECT_TRUE(parsed->loopback()) << address;
    EXPECT_EQ(parsed->text(), address);
  }
  for (const char* address : {"0.0.0.0:1", "[::]:1", "10.0.0.1:1", "example.com:1", "127.0.0.1.example.com:1"})
    EXPECT_FALSE(HostPort::parse("--grpc", address)->loopback()) << address;
  for (const char* address : {"127.0.0.1", ":80", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:65536", "127.0.0.1:-1"})
    EXPECT_FALSE(HostPort::parse("--grpc", address).ok()) << address;
}

TEST(Options, HttpListensOnLocalhostByName) {
  TemporaryDirectory directory;
  auto settings = understand({.http = "localhost:0", .data = directory.path()});
  ASSERT_TRUE(settings.ok()) << settings.status();
  EXPECT_EQ(settings->http.text(), "127.0.0.1:0");
}

TEST(Options, OtherAddressesNeedMutualTls) {
  TemporaryDirectory directory;
  for (const char* file : {"cert", "key", "ca"}) std::ofstream(directory.path() + "/" + file) << "x";
  Options options = plain();
  options.grpc = "0.0.0.0:7300";
  EXPECT_NE(refusal(options).find("--grpc: 0.0.0.0:7300"), std::string::npos);
  options.tls_cert = directory.path() + "/cert";
  EXPECT_NE(refusal(options).find("all three or none"), std::string::npos);
  options.tls_key = directory.path() + "/key";
  options.tls_ca = directory.path() + "/ca";
  EXPECT_NE(refusal(options).find("--role"), std::string::npos) << "TLS without roles locks everybody out";
  options.roles = {"ann=operator"};
  EXPECT_EQ(refusal(options), "");
  options.http = "0.0.0.0:7301";
  EXPECT_NE(refusal(options).find("--http"), std::string::npos);
}

TEST(Options, RefusesWhatItWouldHaveToGuess) {
  Options options = plain();
  options.roles = {"ann=operator"};
  EXPECT_NE(refusal(options).find("roles are given to certificates"), std::string::npos);
  options = plain();
  options.data = "";
  EXPECT_NE(refusal(options).find("--data"), std::string::npos);
  options = plain();
  options.lease_ttl = "15";
  EXPECT_NE(refusal(options).find("--lease-ttl"), std::string::npos);
  options.lease_ttl = "11m";
  EXPECT_NE(refusal(options).find("--lease-ttl: must be between 1s and 10m"), std::string::npos);
  options = plain();
  for (const char* url :
       {"ftp://x", "http://", "http://127.0.0.1:", "http://:9090", "http://x:0", "http://x:99999", "http://x:9o9",
        "http://[::1:9090", "http://x y", "http://x/?a=b", "http://u:p@x", "http://[x]"}) {
    options.prometheus = url;
    EXPECT_NE(refusal(options).find("--prometheus"), std::string::npos) << url;
  }
  for (const char* url : {"http://x", "http://x:9090/prefix/", "http://[::1]:9090", "http://[::1]", "https://x:9090"}) {
    options.prometheus = url;
    EXPECT_EQ(refusal(options), "") << url;
  }
  options.prometheus = "";
  EXPECT_EQ(refusal(options), "");
  options.prometheus_ca = "/nowhere";
  EXPECT_EQ(refusal(options), "--prometheus-ca: /nowhere cannot be read");
  options.prometheus = "http://x";
  options.prometheus_ca = "/dev/null";
  EXPECT_NE(refusal(options).find("--prometheus-ca: "), std::string::npos);
}

}  // namespace
}  // namespace penstock::controller
