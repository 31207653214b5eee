#include <openssl/err.h>
#include <openssl/ssl.h>
#include <unistd.h>

#include <stdexcept>

#include "bench/clients/clients.h"

namespace bench {
namespace {

[[noreturn]] void fail(const char* what) {
  char text[256];
  ERR_error_string_n(ERR_get_error(), text, sizeof text);
  throw std::runtime_error(std::string(what) + ": " + text);
}

// OpenSSL over a blocking socket, as its manual's first example has it.
class Tls final : public Client {
 public:
  Tls(SSL_CTX* context, const std::string& where) : ssl_(SSL_new(context), &SSL_free), fd_(connected_socket(where)) {
    SSL_set_fd(ssl_.get(), fd_);
    if (SSL_connect(ssl_.get()) != 1) {
      ::close(fd_);
      fail("SSL_connect");
    }
  }
  ~Tls() override {
    SSL_shutdown(ssl_.get());
    ::close(fd_);
  }

  void call() override {
    const std::string question = "GET / HTTP/1.1\r\nHost: server\r\n\r\n";
    if (SSL_write(ssl_.get(), question.data(), static_cast<int>(question.size())) <= 0) fail("SSL_write");
    char answer[4096];
    const int n = SSL_read(ssl_.get(), answer, sizeof answer);
    if (n <= 0) fail("SSL_read");
    if (std::string(answer, static_cast<std::size_t>(n)).find("200 OK") == std::string::npos) {
      throw std::runtime_error("another answer");
    }
  }

 private:
  const std::unique_ptr<SSL, decltype(&SSL_free)> ssl_;
  const int fd_;
};

}  // namespace

std::unique_ptr<Client> make_tls(const std::string& where) {
  static SSL_CTX* const context = SSL_CTX_new(TLS_client_method());
  return std::make_unique<Tls>(context, where);
}

}  // namespace bench
