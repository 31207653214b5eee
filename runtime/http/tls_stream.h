#pragma once

#include <boost/system/error_code.hpp>
#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

#include "runtime/net/socket.h"

typedef struct ssl_st SSL;
typedef struct ssl_ctx_st SSL_CTX;

namespace penstock::http {

// Settings of a TLS client: the system's roots (SSL_CERT_FILE and SSL_CERT_DIR as OpenSSL reads them), TLS 1.2 and up,
// peers verified. Reads files: make it on a plain thread. Throws CallError.
std::shared_ptr<SSL_CTX> make_tls_context();

// The client's side of TLS over a fiber socket: OpenSSL works on memory, and only the socket waits.
class TlsStream {
 public:
  // Handshake, with the peer's certificate verified for `host` (a name or an address). Throws CallError with the
  // reason; DeadlineExceeded, Cancelled.
  TlsStream(net::Socket& socket, SSL_CTX* context, const std::string& host);
  ~TlsStream();
  TlsStream(const TlsStream&) = delete;

  // boost::asio::error::eof at the peer's proper end of stream.
  std::size_t read_some(void* data, std::size_t size, boost::system::error_code& ec);
  void write(std::string_view data, boost::system::error_code& ec);

 private:
  template <class Operation>
  int run(Operation operation, boost::system::error_code& ec);
  void flush(boost::system::error_code& ec);
  void fill(boost::system::error_code& ec);

  net::Socket& socket_;
  SSL* ssl_;
};

}  // namespace penstock::http
