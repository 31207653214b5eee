#include "runtime/http/tls_stream.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <algorithm>
#include <array>
#include <boost/asio/error.hpp>
#include <limits>

#include "penstock/http.h"

namespace penstock::http {
namespace {

using boost::system::error_code;

error_code protocol_error() { return make_error_code(boost::system::errc::protocol_error); }

std::string openssl_reason() {
  const unsigned long code = ERR_get_error();
  const char* reason = ERR_reason_error_string(code);
  return reason == nullptr ? "unknown error" : reason;
}

}  // namespace

std::shared_ptr<SSL_CTX> make_tls_context() {
  std::shared_ptr<SSL_CTX> context(SSL_CTX_new(TLS_client_method()), [](SSL_CTX* c) { SSL_CTX_free(c); });
  if (!context || SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION) != 1 ||
      SSL_CTX_set_default_verify_paths(context.get()) != 1) {
    throw CallError("tls: " + openssl_reason());
  }
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  return context;
}

TlsStream::TlsStream(net::Socket& socket, SSL_CTX* context, const std::string& host)
    : socket_(socket), ssl_(SSL_new(context)) {
  const std::unique_ptr<SSL, void (*)(SSL*)> owned(ssl_, SSL_free);
  if (ssl_ == nullptr) throw CallError("tls: " + openssl_reason());
  SSL_set_bio(ssl_, BIO_new(BIO_s_mem()), BIO_new(BIO_s_mem()));
  SSL_set_connect_state(ssl_);
  X509_VERIFY_PARAM* verify = SSL_get0_param(ssl_);
  // An address is verified as one, and is not sent as a server name.
  if (X509_VERIFY_PARAM_set1_ip_asc(verify, host.c_str()) != 1) {
    ERR_clear_error();
    if (SSL_set1_host(ssl_, host.c_str()) != 1 || SSL_set_tlsext_host_name(ssl_, host.c_str()) != 1) {
      throw CallError("tls: " + openssl_reason());
    }
  }
  error_code ec;
  run([this] { return SSL_do_handshake(ssl_); }, ec);
  if (ec) {
    const long verified = SSL_get_verify_result(ssl_);
    if (verified != X509_V_OK) {
      throw CallError("tls handshake with " + host + ": " + X509_verify_cert_error_string(verified));
    }
    throw CallError("tls handshake with " + host + ": " + (ec == protocol_error() ? openssl_reason() : ec.message()));
  }
  // Owned by *this from here on.
  SSL_up_ref(ssl_);
}

TlsStream::~TlsStream() { SSL_free(ssl_); }

void TlsStream::flush(error_code& ec) {
  BIO* out = SSL_get_wbio(ssl_);
  char* data = nullptr;
  std::size_t left = static_cast<std::size_t>(BIO_get_mem_data(out, &data));
  while (left > 0) {
    const std::size_t sent = socket_.write_some(boost::asio::const_buffer(data, left), ec);
    if (ec) return;
    data += sent;
    left -= sent;
  }
  static_cast<void>(BIO_reset(out));
}

void TlsStream::fill(error_code& ec) {
  std::array<char, 8 * 1024> block;
  const std::size_t got = socket_.read_some(boost::asio::buffer(block), ec);
  if (!ec) BIO_write(SSL_get_rbio(ssl_), block.data(), static_cast<int>(got));
}

template <class Operation>
int TlsStream::run(Operation operation, error_code& ec) {
  ec = {};
  while (true) {
    // The error queue is the thread's: it is read before any wait.
    ERR_clear_error();
    const int result = operation();
    const int why = SSL_get_error(ssl_, result);
    if (why != SSL_ERROR_SSL) flush(ec);
    if (ec || result > 0) return result;
    switch (why) {
      case SSL_ERROR_WANT_READ:
        fill(ec);
        if (ec == boost::asio::error::eof) ec = boost::asio::error::connection_reset;
        if (ec) return result;
        break;
      case SSL_ERROR_WANT_WRITE:
        break;
      case SSL_ERROR_ZERO_RETURN:
        ec = boost::asio::error::eof;
        return result;
      default:
        ec = protocol_error();
        return result;
    }
  }
}

std::size_t TlsStream::read_some(void* data, std::size_t size, error_code& ec) {
  const int limit = static_cast<int>(std::min<std::size_t>(size, std::numeric_limits<int>::max()));
  const int got = run([&] { return SSL_read(ssl_, data, limit); }, ec);
  return got > 0 ? static_cast<std::size_t>(got) : 0;
}

void TlsStream::write(std::string_view data, error_code& ec) {
  // A record at a time, so that what is encrypted ahead stays small.
  constexpr std::size_t kRecord = 16 * 1024;
  while (!data.empty()) {
    const std::string_view record = data.substr(0, kRecord);
    run([&] { return SSL_write(ssl_, record.data(), static_cast<int>(record.size())); }, ec);
    if (ec) return;
    data.remove_prefix(record.size());
  }
}

}  // namespace penstock::http
