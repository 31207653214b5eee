#pragma once

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <string>
#include <string_view>

#include "penstock/stream.h"
#include "runtime/net/tls_context.h"

namespace penstock::fiber {
class Waiter;
}

namespace penstock::net {

class TlsWire;

// Why a handshake failed.
class TlsError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// TLS over another stream, of which it takes all reads and writes. As on any stream, one fiber may read while another
// one writes.
//
// Its records go straight between OpenSSL and a socket; other streams cost a copy. While nothing is on its way it holds
// no buffers, and no wait of its own: between two requests the socket below can be watched without a fiber, when
// pending() is false.
//
// An end of the stream below without TLS's own end (an attacker can cause it) is
// boost::asio::ssl::error::stream_truncated; whoever knows by other means that nothing is missing may take it for an
// end.
class TlsStream final : public Stream {
 public:
  // A client's side; `host` is the name or address that the certificate must be for. `below` and `context` outlive it.
  TlsStream(Stream& below, TlsClientContext& context, const std::string& host);
  // A server's side.
  TlsStream(Stream& below, const TlsServerContext& context);
  // Tells the peer that it ends, if that can be done without waiting.
  ~TlsStream() override;
  TlsStream(const TlsStream&) = delete;
  TlsStream& operator=(const TlsStream&) = delete;

  // Before anything else, in at most that time. Throws TlsError, with boost's reason for what failed below;
  // DeadlineExceeded, Cancelled.
  void handshake(Duration at_most);

  // What was agreed on; empty: nothing.
  std::string_view alpn() const;
  // The name that the client asked for; empty: none.
  std::string_view server_name() const;
  std::string_view version() const;
  bool resumed() const;
  // The common name in the peer's (verified) certificate; empty: it showed none.
  std::string peer_name() const;

  // Whether bytes have come that a read would look at before it looks at the stream below.
  bool pending() const;
  // Whether the peer has closed it or sent something unasked: an idle connection that is of no more use.
  bool stale();
  // Whether the peer has said that it sends nothing more, and all before that was read. Does not wait.
  bool peer_closed();

  std::size_t read_parts(const iovec* parts, int count, boost::system::error_code& ec) override;
  std::size_t write_parts(const iovec* parts, int count, boost::system::error_code& ec) override;
  void set_io_timeout(Duration d) override;
  bool is_open() const override { return below_.is_open(); }
  // May wait for room to write, like a write.
  void shutdown_send() override;
  // Tells the peer, if that can be done without waiting, and closes the stream below.
  void close() override;

  // For the context of a client: a session that can be resumed has come. Takes the session when it returns 1.
  static int on_new_session(SSL* ssl, SSL_SESSION* session);

 private:
  TlsStream(Stream& below, SSL* ssl);
  TlsStream(Stream& below, std::shared_ptr<const TlsCertificates> certificates);

  template <class Operation>
  bool run(Operation operation, boost::system::error_code& ec);
  void wait_writable(boost::system::error_code& ec);
  void say_goodbye() noexcept;
  boost::system::error_code failure();

  Stream& below_;
  std::unique_ptr<TlsWire> wire_;
  SslOwner<SSL> ssl_;
  // Of a server: kept, since the handshake chooses among them.
  std::shared_ptr<const TlsCertificates> certificates_;
  // Of a client.
  TlsClientContext* client_ = nullptr;
  std::string host_;

  Duration io_timeout_{};
  // Of the handshake, while it lasts.
  Instant until_ = Instant::max();
  bool established_ = false;
  bool broken_ = false;
  bool said_goodbye_ = false;
  // A fiber waits for room to write; and a reader that has something to say, such as the answer to a key update, waits
  // for it.
  bool writer_waits_ = false;
  fiber::Waiter* queued_ = nullptr;
};

}  // namespace penstock::net
