#pragma once

#include <openssl/ssl.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "penstock/tls.h"

namespace penstock::net {

struct FreeSsl {
  void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  void operator()(SSL* ssl) const { SSL_free(ssl); }
  void operator()(SSL_SESSION* session) const { SSL_SESSION_free(session); }
  void operator()(X509* certificate) const { X509_free(certificate); }
};
template <class T>
using SslOwner = std::unique_ptr<T, FreeSsl>;

// What the connections of a client share: settings, authorities, and sessions to resume. Thread-safe.
class TlsClientContext {
 public:
  // Reads files. Throws std::invalid_argument.
  explicit TlsClientContext(const TlsClientOptions& options);

  SSL_CTX* get() const { return context_.get(); }
  bool verifies() const { return verifies_; }

  // The latest session with a host is used once.
  void keep_session(const std::string& host, SslOwner<SSL_SESSION> session);
  SslOwner<SSL_SESSION> take_session(const std::string& host);

 private:
  const bool verifies_;
  SslOwner<SSL_CTX> context_;
  std::mutex mutex_;
  std::unordered_map<std::string, SslOwner<SSL_SESSION>> sessions_;
};

// The certificates of a server as they were read at one time; connections share what was in force when they began.
struct TlsCertificates {
  struct Entry {
    SslOwner<SSL_CTX> context;
    std::string file;
    std::chrono::system_clock::time_point expires;
  };
  // The first is that of clients that ask for no name or an unknown one.
  std::vector<Entry> entries;
  // ALPN's wire form.
  std::string alpn;
};

// What the connections of a server share. Thread-safe.
class TlsServerContext {
 public:
  // Reads files. Throws std::invalid_argument.
  explicit TlsServerContext(TlsServerOptions options);

  const TlsServerOptions& options() const { return options_; }
  std::shared_ptr<const TlsCertificates> current() const;

  // Reads files, and throws as the constructor does; what was in force then stays.
  void reload();
  // Reloads if a file is another one than at the last attempt; logs what came of it, and never throws.
  void reload_if_changed() noexcept;

 private:
  // Of a file, so that a change can be told.
  std::string fingerprint() const;

  const TlsServerOptions options_;
  mutable std::mutex mutex_;
  std::shared_ptr<const TlsCertificates> current_;
  std::mutex reload_mutex_;
  std::string fingerprint_;
};

// The reason of the first error in OpenSSL's queue for this thread; empties the queue.
std::string take_tls_error();

}  // namespace penstock::net
