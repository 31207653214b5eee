#pragma once

#include <chrono>
#include <string>
#include <vector>

// TLS settings of servers and clients. TLS 1.2 is the least that is spoken, renegotiation is off, and sessions are
// resumed by tickets. Files are PEM. Whoever is given such options reads the files at once, and throws
// std::invalid_argument, naming the option, the file and the reason, if they are of no use.
namespace penstock::net {

enum class TlsVersion { tls_1_2, tls_1_3 };

// A certificate with the chain up to its authority, and its private key, which must not be encrypted.
struct TlsCertificate {
  std::string certificate_file;
  std::string key_file;
  bool operator==(const TlsCertificate&) const = default;
};

struct TlsServerOptions {
  // At least one. A client that asks for a name (SNI) gets the first one whose names match, or else the first of all.
  std::vector<TlsCertificate> certificates;
  // Authorities of client certificates; empty: clients are not asked for one.
  std::string client_ca_file;
  // A client without a valid certificate is refused in the handshake. Without this, one that has none is served, but
  // never one with a bad one. Needs client_ca_file.
  bool require_client_certificate = false;
  // Application protocols in order of preference (ALPN). A client that offers only others is refused; one that offers
  // none is served.
  std::vector<std::string> alpn = {"http/1.1"};
  TlsVersion min_version = TlsVersion::tls_1_2;
  // How often all of these files are looked at for a change (of inode, size or time). New connections get the new
  // certificates, present ones go on. Files that are of no use leave the old ones in force and are logged once.
  std::chrono::milliseconds reload_interval{5'000};
};

struct TlsClientOptions {
  // Authorities that are trusted besides the system's (those of SSL_CERT_FILE and SSL_CERT_DIR, if set).
  std::string ca_file;
  // Shown to servers that ask for one; both files empty: none.
  TlsCertificate certificate;
  std::vector<std::string> alpn = {"http/1.1"};
  TlsVersion min_version = TlsVersion::tls_1_2;
  // Talks to whoever answers, be it the intended server or not: for experiments. Logs a warning.
  bool insecure_skip_verification = false;
};

}  // namespace penstock::net
