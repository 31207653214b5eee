#include "runtime/net/tls_stream.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>
#include <boost/asio/error.hpp>
#include <boost/asio/ssl/error.hpp>
#include <chrono>
#include <cstring>
#include <limits>
#include <new>
#include <optional>
#include <utility>

#include "penstock/fiber.h"
#include "runtime/fiber/scheduler.h"
#include "runtime/fiber/waiter.h"
#include "runtime/net/tls_wire.h"

namespace penstock::net {

using boost::system::error_code;

namespace {

error_code tls_error(unsigned long code) {
  return error_code(static_cast<int>(code), boost::asio::error::get_ssl_category());
}

}  // namespace

TlsStream::TlsStream(Stream& below, SSL* ssl) : below_(below), wire_(make_wire(below)), ssl_(ssl) {
  if (!ssl_) throw std::bad_alloc();
  BIO* bio = make_bio(*wire_);
  SSL_set_bio(ssl, bio, bio);
  SSL_set_app_data(ssl, this);
}

TlsStream::TlsStream(Stream& below, TlsClientContext& context, const std::string& host)
    : TlsStream(below, SSL_new(context.get())) {
  client_ = &context;
  host_ = host;
  SSL* ssl = ssl_.get();
  SSL_set_connect_state(ssl);
  // An address is verified as one, and is not sent as a server name.
  X509_VERIFY_PARAM* verify = SSL_get0_param(ssl);
  if (X509_VERIFY_PARAM_set1_ip_asc(verify, host.c_str()) != 1) {
    ERR_clear_error();
    X509_VERIFY_PARAM_set_hostflags(verify, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (host.empty() || SSL_set1_host(ssl, host.c_str()) != 1 || SSL_set_tlsext_host_name(ssl, host.c_str()) != 1) {
      throw TlsError("\"" + host + "\" is not a host name");
    }
  }
  if (const auto session = context.take_session(host)) SSL_set_session(ssl, session.get());
}

TlsStream::TlsStream(Stream& below, const TlsServerContext& context) : TlsStream(below, context.current()) {}

TlsStream::TlsStream(Stream& below, std::shared_ptr<const TlsCertificates> certificates)
    : TlsStream(below, SSL_new(certificates->entries.front().context.get())) {
  certificates_ = std::move(certificates);
  SSL_set_accept_state(ssl_.get());
}

TlsStream::~TlsStream() {
  if (below_.is_open()) say_goodbye();
}

int TlsStream::on_new_session(SSL* ssl, SSL_SESSION* session) {
  auto* self = static_cast<TlsStream*>(SSL_get_app_data(ssl));
  if (self == nullptr || self->client_ == nullptr) return 0;
  self->client_->keep_session(self->host_, SslOwner<SSL_SESSION>(session));
  return 1;
}

error_code TlsStream::failure() {
  broken_ = true;
  const unsigned long code = ERR_get_error();
  ERR_clear_error();
  const error_code below = wire_->failed;
  if (below == boost::asio::error::eof) return boost::asio::ssl::error::stream_truncated;
  if (below) return below;
  return code != 0 ? tls_error(code) : error_code(boost::asio::ssl::error::unspecified_system_error);
}

template <class Operation>
bool TlsStream::run(Operation operation, error_code& ec) {
  ec = {};
  Instant until = until_;
  // However slowly a record comes, byte by byte: it is one operation.
  const auto bound_wait = [&] {
    if (until == Instant::max() && io_timeout_ != Duration::zero()) {
      until = std::chrono::steady_clock::now() + io_timeout_;
    }
    if (until == Instant::max()) return;
    const Duration left = until - std::chrono::steady_clock::now();
    if (left <= Duration::zero()) {
      ec = boost::asio::error::timed_out;
    } else {
      below_.set_io_timeout(left);
    }
  };
  for (;;) {
    // The queue of errors is the thread's: it is read before any wait.
    ERR_clear_error();
    const int result = operation();
    const int why = SSL_get_error(ssl_.get(), result);
    switch (why) {
      case SSL_ERROR_NONE:
        if (wire_->unsent()) bound_wait();
        while (wire_->unsent() && !ec) wait_writable(ec);
        return !ec;
      case SSL_ERROR_WANT_READ:
        bound_wait();
        // What the peer waits for before it answers.
        while (wire_->unsent() && !ec) wait_writable(ec);
        if (!ec) wire_->wait_readable(ec);
        break;
      case SSL_ERROR_WANT_WRITE:
        bound_wait();
        if (!ec) wait_writable(ec);
        break;
      case SSL_ERROR_ZERO_RETURN:
        ec = boost::asio::error::eof;
        break;
      default:
        ec = failure();
        // The alert that tells the peer why.
        if (error_code ignored; wire_->unsent()) wait_writable(ignored);
        break;
    }
    if (ec) return false;
  }
}

void TlsStream::wait_writable(error_code& ec) {
  if (!writer_waits_) {
    struct Turn {
      explicit Turn(TlsStream& stream) : stream(stream) { stream.writer_waits_ = true; }
      ~Turn() {
        stream.writer_waits_ = false;
        if (stream.queued_ != nullptr) stream.queued_->notify();
      }
      TlsStream& stream;
    } turn(*this);
    wire_->wait_writable(ec);
    return;
  }
  fiber::Waiter waiter("its turn to write");
  struct Queued {
    Queued(TlsStream& stream, fiber::Waiter& waiter) : stream(stream) { stream.queued_ = &waiter; }
    ~Queued() { stream.queued_ = nullptr; }
    TlsStream& stream;
  } queued(*this, waiter);
  const fiber::Wake why =
      waiter.wait(io_timeout_ == Duration::zero() ? Instant::max() : std::chrono::steady_clock::now() + io_timeout_);
  fiber::throw_if_interrupted(why, "room to write");
  if (why == fiber::Wake::deadline) ec = boost::asio::error::timed_out;
}

void TlsStream::handshake(Duration at_most) {
  until_ = std::chrono::steady_clock::now() + at_most;
  error_code ec;
  const bool shaken = run([this] { return SSL_do_handshake(ssl_.get()); }, ec);
  until_ = Instant::max();
  below_.set_io_timeout(io_timeout_);
  if (shaken) {
    established_ = true;
    return;
  }
  broken_ = true;
  const std::string whom = host_.empty() ? "TLS handshake: " : "TLS handshake with " + host_ + ": ";
  const long verified = SSL_get_verify_result(ssl_.get());
  if (ec == boost::asio::error::timed_out) throw TlsError(whom + "timed out");
  if (verified != X509_V_OK) throw TlsError(whom + X509_verify_cert_error_string(verified));
  if (ec == boost::asio::ssl::error::stream_truncated) throw TlsError(whom + "the peer closed the connection");
  throw TlsError(whom + ec.message());
}

std::string_view TlsStream::alpn() const {
  const unsigned char* name = nullptr;
  unsigned int size = 0;
  SSL_get0_alpn_selected(ssl_.get(), &name, &size);
  return {reinterpret_cast<const char*>(name), size};
}

std::string_view TlsStream::server_name() const {
  const char* name = SSL_get_servername(ssl_.get(), TLSEXT_NAMETYPE_host_name);
  return name == nullptr ? std::string_view() : name;
}

std::string_view TlsStream::version() const { return SSL_get_version(ssl_.get()); }

bool TlsStream::resumed() const { return SSL_session_reused(ssl_.get()) == 1; }

std::string TlsStream::peer_name() const {
  const SslOwner<X509> certificate(SSL_get1_peer_certificate(ssl_.get()));
  if (!certificate) return {};
  std::array<char, 256> name{};
  const int size = X509_NAME_get_text_by_NID(X509_get_subject_name(certificate.get()), NID_commonName, name.data(),
                                             static_cast<int>(name.size()));
  return size > 0 ? std::string(name.data(), static_cast<std::size_t>(size)) : std::string();
}

bool TlsStream::pending() const { return SSL_has_pending(ssl_.get()) == 1 || wire_->holds_received(); }

bool TlsStream::stale() {
  if (!established_ || broken_ || !is_open()) return true;
  wire_->look();
  char byte;
  ERR_clear_error();
  // Takes in what is no data, such as tickets.
  const int result = SSL_peek(ssl_.get(), &byte, 1);
  const int why = SSL_get_error(ssl_.get(), result);
  if (why == SSL_ERROR_SSL || why == SSL_ERROR_SYSCALL) failure();
  return why != SSL_ERROR_WANT_READ;
}

bool TlsStream::peer_closed() {
  if (!established_ || broken_ || !is_open()) return true;
  char byte;
  ERR_clear_error();
  const int result = SSL_peek(ssl_.get(), &byte, 1);
  const int why = SSL_get_error(ssl_.get(), result);
  ERR_clear_error();
  return why == SSL_ERROR_ZERO_RETURN || why == SSL_ERROR_SSL || why == SSL_ERROR_SYSCALL;
}

std::size_t TlsStream::read_parts(const iovec* parts, int count, error_code& ec) {
  ec = {};
  if (count == 0) return 0;
  if (!is_open()) {
    ec = boost::asio::error::bad_descriptor;
    return 0;
  }
  fiber::Scheduler::current()->breathe();
  std::size_t read = 0;
  for (int i = 0; i < count; ++i) {
    std::size_t n = 0;
    // Beyond the first part, only what costs no wait.
    if (i > 0 && SSL_pending(ssl_.get()) == 0) break;
    if (!run([&] { return SSL_read_ex(ssl_.get(), parts[i].iov_base, parts[i].iov_len, &n); }, ec)) {
      if (read > 0) ec = {};
      return read;
    }
    read += n;
    if (n < parts[i].iov_len) break;
  }
  return read;
}

std::size_t TlsStream::write_parts(const iovec* parts, int count, error_code& ec) {
  ec = {};
  if (count == 0) return 0;
  if (!is_open() || said_goodbye_) {
    ec = is_open() ? boost::asio::error::shut_down : boost::asio::error::bad_descriptor;
    return 0;
  }
  fiber::Scheduler::current()->breathe();
  const void* data = parts->iov_base;
  std::size_t size = parts->iov_len;
  std::string gathered;
  if (count > 1 && size < kTlsRecord) {
    // Many parts make one record.
    for (int i = 0; i < count && gathered.size() < kTlsRecord; ++i) {
      gathered.append(static_cast<const char*>(parts[i].iov_base),
                      std::min(parts[i].iov_len, kTlsRecord - gathered.size()));
    }
    data = gathered.data();
    size = gathered.size();
  }
  std::size_t n = 0;
  run([&] { return SSL_write_ex(ssl_.get(), data, size, &n); }, ec);
  return ec ? 0 : n;
}

void TlsStream::set_io_timeout(Duration d) {
  io_timeout_ = d;
  below_.set_io_timeout(d);
}

void TlsStream::shutdown_send() {
  if (!is_open()) return;
  if (established_ && !broken_ && !std::exchange(said_goodbye_, true)) {
    error_code ignored;
    run(
        [this] {
          const int result = SSL_shutdown(ssl_.get());
          // Zero: ours has been sent, and the peer's has not come.
          return result == 0 ? 1 : result;
        },
        ignored);
  }
  below_.shutdown_send();
}

void TlsStream::say_goodbye() noexcept {
  if (!established_ || broken_ || writer_waits_ || std::exchange(said_goodbye_, true)) return;
  ERR_clear_error();
  SSL_shutdown(ssl_.get());
  ERR_clear_error();
}

void TlsStream::close() {
  if (!is_open()) return;
  say_goodbye();
  below_.close();
}

}  // namespace penstock::net
