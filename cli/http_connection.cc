#include "cli/http_connection.h"

#include <arpa/inet.h>
#include <netdb.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "cli/failure.h"

namespace penstock::cli {
namespace {

constexpr std::size_t kMostBytes = std::size_t{1} << 30;
constexpr const char* kLate = " does not answer in time";

std::string tls_error() {
  const unsigned long code = ERR_peek_last_error();
  const char* reason = ERR_reason_error_string(code);
  return reason != nullptr ? reason : "the connection was closed";
}

}  // namespace

HttpConnection::HttpConnection(const policy::HttpUrl& url, const std::string& ca_file, std::chrono::seconds timeout)
    : shown_(url.text()), deadline_(std::chrono::steady_clock::now() + timeout) {
  connect(url, timeout);
  if (!url.tls) return;
  try {
    shake_hands(url.host, ca_file);
  } catch (...) {
    close();
    throw;
  }
}

HttpConnection::~HttpConnection() { close(); }

HttpConnection::Signal::~Signal() {
  if (before != SIG_ERR) std::signal(SIGPIPE, before);
}

void HttpConnection::connect(const policy::HttpUrl& url, std::chrono::seconds timeout) {
  addrinfo hints{};
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  if (const int failed = ::getaddrinfo(url.host.c_str(), std::to_string(url.port).c_str(), &hints, &found); failed != 0)
    throw Failure(kUnreachable, shown_ + ": " + ::gai_strerror(failed));
  const std::unique_ptr<addrinfo, decltype(&::freeaddrinfo)> addresses(found, &::freeaddrinfo);
  int error = EADDRNOTAVAIL;
  for (const addrinfo* at = found; at != nullptr; at = at->ai_next) {
    socket_ = ::socket(at->ai_family, at->ai_socktype | SOCK_CLOEXEC, at->ai_protocol);
    if (socket_ >= 0) {
      const timeval limit{.tv_sec = timeout.count(), .tv_usec = 0};
      ::setsockopt(socket_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
      ::setsockopt(socket_, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
      if (::connect(socket_, at->ai_addr, at->ai_addrlen) == 0) return;
    }
    // Of a connection that cannot be made in time.
    error = errno == EINPROGRESS ? EAGAIN : errno;
    close();
  }
  fail(error);
}

void HttpConnection::shake_hands(const std::string& host, const std::string& ca_file) {
  // OpenSSL writes without MSG_NOSIGNAL.
  signal_.before = std::signal(SIGPIPE, SIG_IGN);
  ERR_clear_error();
  context_.reset(SSL_CTX_new(TLS_client_method()));
  SSL_CTX_set_min_proto_version(context_.get(), TLS1_2_VERSION);
  SSL_CTX_set_verify(context_.get(), SSL_VERIFY_PEER, nullptr);
  // Many servers end a connection without saying so first; whether the answer is whole, who reads it knows.
  SSL_CTX_set_options(context_.get(), SSL_OP_IGNORE_UNEXPECTED_EOF);
  SSL_CTX_set_default_verify_paths(context_.get());
  if (!ca_file.empty() && SSL_CTX_load_verify_locations(context_.get(), ca_file.c_str(), nullptr) != 1)
    throw Failure(kUsage, "--prometheus-ca: " + ca_file + ": " + tls_error());
  tls_.reset(SSL_new(context_.get()));
  unsigned char address[sizeof(in6_addr)];
  const bool numeric =
      ::inet_pton(AF_INET, host.c_str(), address) == 1 || ::inet_pton(AF_INET6, host.c_str(), address) == 1;
  if (numeric) {
    X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(tls_.get()), host.c_str());
  } else {
    SSL_set1_host(tls_.get(), host.c_str());
    SSL_set_tlsext_host_name(tls_.get(), host.c_str());
  }
  SSL_set_fd(tls_.get(), socket_);
  if (SSL_connect(tls_.get()) == 1) return;
  const int error = errno;
  if (const long verdict = SSL_get_verify_result(tls_.get()); verdict != X509_V_OK)
    throw Failure(kFailed, shown_ + ": its certificate is not accepted: " + X509_verify_cert_error_string(verdict) +
                               "; --prometheus-ca names the authority that it is from");
  if (ERR_peek_last_error() == 0 && error == EAGAIN) fail(error);
  throw Failure(kUnreachable, shown_ + ": no TLS is spoken there: " + tls_error());
}

void HttpConnection::send(std::string_view text) {
  while (!text.empty()) {
    const ssize_t sent = tls_ ? SSL_write(tls_.get(), text.data(), static_cast<int>(text.size()))
                              : ::send(socket_, text.data(), text.size(), MSG_NOSIGNAL);
    if (sent <= 0) fail(errno);
    text.remove_prefix(static_cast<std::size_t>(sent));
  }
}

std::size_t HttpConnection::receive(char* data, std::size_t size) {
  if (tls_ == nullptr) {
    const ssize_t received = ::recv(socket_, data, size, 0);
    if (received < 0) fail(errno);
    return static_cast<std::size_t>(received);
  }
  ERR_clear_error();
  const int received = SSL_read(tls_.get(), data, static_cast<int>(size));
  if (received > 0) return static_cast<std::size_t>(received);
  if (SSL_get_error(tls_.get(), received) == SSL_ERROR_ZERO_RETURN) return 0;
  if (ERR_peek_last_error() != 0) throw Failure(kUnreachable, shown_ + ": " + tls_error());
  fail(errno);
}

std::string HttpConnection::receive_all() {
  std::string all;
  char part[16 * 1024];
  while (const std::size_t received = receive(part, sizeof part)) {
    if (std::chrono::steady_clock::now() >= deadline_) throw Failure(kUnreachable, shown_ + kLate);
    all.append(part, received);
    if (all.size() > kMostBytes) throw Failure(kFailed, shown_ + " answers more than 1 GiB: ask for less time");
  }
  return all;
}

void HttpConnection::fail(int error) const {
  throw Failure(kUnreachable, shown_ + (error == EAGAIN ? kLate : std::string(": ") + std::strerror(error)));
}

void HttpConnection::close() {
  if (socket_ >= 0) ::close(socket_);
  socket_ = -1;
}

}  // namespace penstock::cli
