#include "runtime/net/tls_context.h"

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <spdlog/spdlog.h>
#include <sys/stat.h>

#include <cerrno>
#include <ctime>
#include <stdexcept>
#include <string_view>
#include <system_error>
#include <utility>

#include "runtime/net/tls_stream.h"

namespace penstock::net {
namespace {

constexpr std::size_t kMostSessions = 1000;
// What is left is forward secret and authenticated, as all of TLS 1.3 is.
constexpr const char* kServerCiphers = "ECDHE+AESGCM:ECDHE+CHACHA20";

[[noreturn]] void refuse(std::string_view option, const std::string& why) {
  throw std::invalid_argument(std::string(option) + ": " + why);
}

// The reason last given is the most general one: for files the first says what happened.
[[noreturn]] void refuse_file(std::string_view option, const std::string& file) {
  const int error = errno;
  const unsigned long code = ERR_peek_error();
  std::string why = take_tls_error();
  if (ERR_SYSTEM_ERROR(code)) {
    why = std::generic_category().message(static_cast<int>(ERR_GET_REASON(code)));
  } else if (ERR_GET_LIB(code) == ERR_LIB_PEM && ERR_GET_REASON(code) == PEM_R_NO_START_LINE) {
    why = "nothing of this kind is in it";
  } else if (code == 0) {
    why = std::generic_category().message(error);
  }
  refuse(option, "\"" + file + "\": " + why);
}

// ALPN's list: each name behind its length.
std::string wire_form(std::string_view option, const std::vector<std::string>& names) {
  std::string wire;
  for (const std::string& name : names) {
    if (name.empty() || name.size() > 255) refuse(option, "a protocol's name must have 1 to 255 bytes");
    wire += static_cast<char>(name.size());
    wire += name;
  }
  return wire;
}

SslOwner<SSL_CTX> make_context(const SSL_METHOD* method, TlsVersion least) {
  SslOwner<SSL_CTX> context(SSL_CTX_new(method));
  if (!context) throw std::bad_alloc();
  SSL_CTX_set_min_proto_version(context.get(), least == TlsVersion::tls_1_3 ? TLS1_3_VERSION : TLS1_2_VERSION);
  SSL_CTX_set_options(context.get(), SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  SSL_CTX_set_mode(context.get(),
                   SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  // One read for a record, not one for its head and one for the rest.
  SSL_CTX_set_read_ahead(context.get(), 1);
  // OpenSSL's own would ask on the terminal.
  SSL_CTX_set_default_passwd_cb(context.get(), [](char*, int, int, void*) { return 0; });
  return context;
}

void use_certificate(SSL_CTX* context, const TlsCertificate& certificate, const std::string& option) {
  const std::string file_option = option + "certificate_file", key_option = option + "key_file";
  if (certificate.certificate_file.empty()) refuse(file_option, "must not be empty");
  if (certificate.key_file.empty()) refuse(key_option, "must not be empty");
  errno = 0;
  ERR_clear_error();
  if (SSL_CTX_use_certificate_chain_file(context, certificate.certificate_file.c_str()) != 1) {
    refuse_file(file_option, certificate.certificate_file);
  }
  const bool readable = SSL_CTX_use_PrivateKey_file(context, certificate.key_file.c_str(), SSL_FILETYPE_PEM) == 1;
  if (!readable && ERR_GET_LIB(ERR_peek_error()) != ERR_LIB_X509) refuse_file(key_option, certificate.key_file);
  if (!readable || SSL_CTX_check_private_key(context) != 1) {
    ERR_clear_error();
    refuse(key_option, "\"" + certificate.key_file + "\": is not the key of the certificate in \"" +
                           certificate.certificate_file + "\"");
  }
}

std::chrono::system_clock::time_point expiry_of(SSL_CTX* context) {
  std::tm parts{};
  ASN1_TIME_to_tm(X509_get0_notAfter(SSL_CTX_get0_certificate(context)), &parts);
  return std::chrono::system_clock::from_time_t(::timegm(&parts));
}

int choose_protocol(SSL*, const unsigned char** out, unsigned char* out_size, const unsigned char* offered,
                    unsigned int offered_size, void* arg) {
  const auto& own = static_cast<const TlsCertificates*>(arg)->alpn;
  if (own.empty()) return SSL_TLSEXT_ERR_NOACK;
  unsigned char* chosen = nullptr;
  const int result = SSL_select_next_proto(&chosen, out_size, reinterpret_cast<const unsigned char*>(own.data()),
                                           static_cast<unsigned int>(own.size()), offered, offered_size);
  *out = chosen;
  return result == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

int choose_certificate(SSL* ssl, int*, void* arg) {
  const char* name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
  if (name == nullptr) return SSL_TLSEXT_ERR_NOACK;
  for (const auto& entry : static_cast<const TlsCertificates*>(arg)->entries) {
    if (X509_check_host(SSL_CTX_get0_certificate(entry.context.get()), name, 0, 0, nullptr) == 1) {
      SSL_set_SSL_CTX(ssl, entry.context.get());
      return SSL_TLSEXT_ERR_OK;
    }
  }
  return SSL_TLSEXT_ERR_NOACK;
}

std::shared_ptr<const TlsCertificates> read_certificates(const TlsServerOptions& options) {
  if (options.certificates.empty()) refuse("tls.certificates", "must not be empty");
  if (options.require_client_certificate && options.client_ca_file.empty()) {
    refuse("tls.require_client_certificate", "needs client_ca_file");
  }
  if (options.reload_interval <= options.reload_interval.zero()) refuse("tls.reload_interval", "must be positive");
  auto made = std::make_shared<TlsCertificates>();
  made->alpn = wire_form("tls.alpn", options.alpn);
  for (std::size_t i = 0; i < options.certificates.size(); ++i) {
    SslOwner<SSL_CTX> context = make_context(TLS_server_method(), options.min_version);
    use_certificate(context.get(), options.certificates[i], "tls.certificates[" + std::to_string(i) + "].");
    SSL_CTX_set_cipher_list(context.get(), kServerCiphers);
    // Sessions are in their tickets; nothing is kept here.
    SSL_CTX_set_session_cache_mode(context.get(), SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(context.get(), 1);
    static constexpr unsigned char kSessions[] = "penstock";
    SSL_CTX_set_session_id_context(context.get(), kSessions, sizeof kSessions - 1);
    if (!options.client_ca_file.empty()) {
      errno = 0;
      ERR_clear_error();
      if (SSL_CTX_load_verify_file(context.get(), options.client_ca_file.c_str()) != 1) {
        refuse_file("tls.client_ca_file", options.client_ca_file);
      }
      SSL_CTX_set_client_CA_list(context.get(), SSL_load_client_CA_file(options.client_ca_file.c_str()));
      SSL_CTX_set_verify(context.get(),
                         SSL_VERIFY_PEER | (options.require_client_certificate ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT : 0),
                         nullptr);
    }
    SSL_CTX_set_alpn_select_cb(context.get(), &choose_protocol, made.get());
    SSL_CTX_set_tlsext_servername_callback(context.get(), &choose_certificate);
    SSL_CTX_set_tlsext_servername_arg(context.get(), made.get());
    const auto expires = expiry_of(context.get());
    if (expires <= std::chrono::system_clock::now()) {
      spdlog::warn("the certificate in \"{}\" has expired", options.certificates[i].certificate_file);
    }
    made->entries.push_back({std::move(context), options.certificates[i].certificate_file, expires});
  }
  return made;
}

}  // namespace

std::string take_tls_error() {
  const unsigned long code = ERR_get_error();
  ERR_clear_error();
  const char* reason = ERR_reason_error_string(code);
  return reason == nullptr ? "unknown error" : reason;
}

TlsClientContext::TlsClientContext(const TlsClientOptions& options)
    : verifies_(!options.insecure_skip_verification), context_(make_context(TLS_client_method(), options.min_version)) {
  SSL_CTX* context = context_.get();
  errno = 0;
  ERR_clear_error();
  if (verifies_) {
    if (SSL_CTX_set_default_verify_paths(context) != 1) refuse_file("tls", X509_get_default_cert_file());
    if (!options.ca_file.empty() && SSL_CTX_load_verify_file(context, options.ca_file.c_str()) != 1) {
      refuse_file("tls.ca_file", options.ca_file);
    }
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, nullptr);
  } else {
    spdlog::warn("a TLS client does not verify whom it talks to (insecure_skip_verification)");
  }
  // A default file that is missing is no error.
  ERR_clear_error();
  if (options.certificate != TlsCertificate{}) use_certificate(context, options.certificate, "tls.certificate.");
  const std::string alpn = wire_form("tls.alpn", options.alpn);
  SSL_CTX_set_alpn_protos(context, reinterpret_cast<const unsigned char*>(alpn.data()),
                          static_cast<unsigned int>(alpn.size()));
  SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
  SSL_CTX_sess_set_new_cb(context, &TlsStream::on_new_session);
}

void TlsClientContext::keep_session(const std::string& host, SslOwner<SSL_SESSION> session) {
  const std::lock_guard lock(mutex_);
  if (sessions_.size() >= kMostSessions && !sessions_.contains(host)) sessions_.erase(sessions_.begin());
  sessions_[host] = std::move(session);
}

SslOwner<SSL_SESSION> TlsClientContext::take_session(const std::string& host) {
  const std::lock_guard lock(mutex_);
  auto node = sessions_.extract(host);
  return node.empty() ? nullptr : std::move(node.mapped());
}

TlsServerContext::TlsServerContext(TlsServerOptions options)
    : options_(std::move(options)), current_(read_certificates(options_)), fingerprint_(fingerprint()) {}

std::shared_ptr<const TlsCertificates> TlsServerContext::current() const {
  const std::lock_guard lock(mutex_);
  return current_;
}

void TlsServerContext::reload() {
  const std::lock_guard reloading(reload_mutex_);
  // Taken before: a change meanwhile is one of the next time.
  fingerprint_ = fingerprint();
  auto made = read_certificates(options_);
  const std::lock_guard lock(mutex_);
  current_.swap(made);
}

void TlsServerContext::reload_if_changed() noexcept {
  try {
    {
      const std::lock_guard reloading(reload_mutex_);
      if (fingerprint() == fingerprint_) return;
    }
    reload();
    spdlog::info("certificates were read again: {}", options_.certificates.front().certificate_file);
  } catch (const std::exception& e) {
    spdlog::error("certificates have changed but are of no use, the old ones stay in force: {}", e.what());
  }
}

std::string TlsServerContext::fingerprint() const {
  std::string all;
  const auto add = [&all](const std::string& file) {
    struct stat is {};
    if (file.empty() || ::stat(file.c_str(), &is) != 0) {
      all += "none;";
      return;
    }
    for (const auto number :
         {static_cast<long long>(is.st_dev), static_cast<long long>(is.st_ino), static_cast<long long>(is.st_size),
          static_cast<long long>(is.st_mtim.tv_sec), static_cast<long long>(is.st_mtim.tv_nsec)}) {
      all += std::to_string(number) + ',';
    }
    all += ';';
  };
  for (const TlsCertificate& certificate : options_.certificates) {
    add(certificate.certificate_file);
    add(certificate.key_file);
  }
  add(options_.client_ca_file);
  return all;
}

}  // namespace penstock::net
