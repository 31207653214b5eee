#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "controller/service/roles.h"

namespace penstock::controller {

// host:port as a listener or a client takes it; an IPv6 host is written in brackets.
struct HostPort {
  std::string host;
  int port = 0;
  static absl::StatusOr<HostPort> parse(const std::string& flag, const std::string& text);
  // "localhost", 127.0.0.0/8, ::1.
  bool loopback() const;
  std::string text() const;
};

// The command line. Everything is checked before anything is opened.
struct Options {
  std::string grpc = "127.0.0.1:7300";
  std::string http = "127.0.0.1:7301";
  std::string prometheus = "http://127.0.0.1:9090";
  std::string prometheus_ca;
  std::string data;
  std::string addresses;
  std::string scrape_interval = "5s";
  std::string history = "672h";
  std::string period = "1s";
  std::string lease_ttl = "15s";
  std::string decision_retention = "168h";
  std::string tls_cert, tls_key, tls_ca;
  std::vector<std::string> roles;
  std::string roles_file;
  std::string log_level = "info";
};

// The same, understood.
struct Settings {
  HostPort grpc, http;
  // Without a slash at its end; empty: none.
  std::string prometheus;
  // Authorities that are trusted besides the system's; empty: only these.
  std::string prometheus_ca;
  std::string data, addresses;
  std::chrono::milliseconds scrape_interval{}, period{}, lease_ttl{};
  std::chrono::seconds decision_retention{};
  // Zero: what was recorded is not read.
  std::chrono::hours history{};
  // All three or none.
  std::string tls_cert, tls_key, tls_ca;
  bool tls() const { return !tls_cert.empty(); }
  Roles roles;
};

// What to run with, or which flag is wrong and why. Refuses listeners that others could reach without proof of who they
// are: gRPC off loopback needs mutual TLS, HTTP (which has none) stays on loopback.
absl::StatusOr<Settings> understand(const Options& options);

}  // namespace penstock::controller
