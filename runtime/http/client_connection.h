#pragma once

#include <boost/beast/core/flat_buffer.hpp>
#include <memory>
#include <string_view>

#include "penstock/http.h"
#include "runtime/http/tls_stream.h"
#include "runtime/http/url.h"
#include "runtime/net/socket.h"

namespace penstock::http {

// One connection to a server, for one call at a time. Belongs to the thread that made it.
class ClientConnection {
 public:
  // Resolves, connects to the first address that answers, and shakes hands when `tls` is given. Throws CallError;
  // DeadlineExceeded, Cancelled.
  ClientConnection(const CallTarget& target, const ClientOptions& options, SSL_CTX* tls);

  // Sends a request and reads its answer. Throws CallError; DeadlineExceeded, Cancelled; the connection is of no
  // further use then.
  Response exchange(std::string_view head, std::string_view body, bool is_head, const ClientOptions& options);

  // Whether it can carry another call, after exchange().
  bool reusable() const { return reusable_; }
  // Whether anything of the last answer has come.
  bool answered() const { return answered_; }
  // Whether the peer has closed it, or sent something unasked.
  bool stale() { return socket_.stale(); }

 private:
  void write(std::string_view head, std::string_view body, boost::system::error_code& ec);
  void read(boost::system::error_code& ec);

  net::Socket socket_;
  std::unique_ptr<TlsStream> tls_;
  boost::beast::flat_buffer buffer_;
  bool reusable_ = false;
  bool answered_ = false;
};

}  // namespace penstock::http
