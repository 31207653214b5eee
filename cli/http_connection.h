#pragma once

#include <openssl/ssl.h>

#include <chrono>
#include <csignal>
#include <memory>
#include <string>
#include <string_view>

#include "policy/http_url.h"

namespace penstock::cli {

// One connection to an HTTP server, by TLS if its URL wants that; then the server must prove its name. Throws Failure:
// usage for a CA file that it cannot use, failed for a server that proves nothing, unreachable for anything else.
class HttpConnection {
 public:
  // `ca_file`: authorities that are trusted besides the system's; empty: only these. `timeout`: of one wait, and of all
  // that receive_all() reads.
  HttpConnection(const policy::HttpUrl& url, const std::string& ca_file, std::chrono::seconds timeout);
  ~HttpConnection();
  HttpConnection(const HttpConnection&) = delete;

  void send(std::string_view text);
  // Up to the end of the connection; at most 1 GiB.
  std::string receive_all();

 private:
  void connect(const policy::HttpUrl& url, std::chrono::seconds timeout);
  void shake_hands(const std::string& host, const std::string& ca_file);
  // Up to `size` bytes; 0: it has ended.
  std::size_t receive(char* data, std::size_t size);
  [[noreturn]] void fail(int error) const;
  void close();

  // SIGPIPE is ignored while TLS is spoken.
  struct Signal {
    ~Signal();
    void (*before)(int) = SIG_ERR;
  };

  const std::string shown_;
  const std::chrono::steady_clock::time_point deadline_;
  int socket_ = -1;
  Signal signal_;
  std::unique_ptr<SSL_CTX, decltype(&SSL_CTX_free)> context_{nullptr, &SSL_CTX_free};
  std::unique_ptr<SSL, decltype(&SSL_free)> tls_{nullptr, &SSL_free};
};

}  // namespace penstock::cli
