#include "cli/prometheus.h"

#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <string>
#include <thread>

#include "cli/failure.h"
#include "tests/integration/controller/certificate_authority.h"

namespace penstock::cli {
namespace {

using namespace std::chrono_literals;

// Answers one connection as `answer` does.
class OneAnswer {
 public:
  enum class Scheme { http, https };
  explicit OneAnswer(std::function<void(int socket)> answer, Scheme scheme = Scheme::http) {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(listener_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(listener_, 1), 0);
    EXPECT_EQ(::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    url_ = (scheme == Scheme::https ? "https://127.0.0.1:" : "http://127.0.0.1:") +
           std::to_string(ntohs(address.sin_port));
    thread_ = std::thread([this, scheme, answer = std::move(answer)] {
      const int socket = ::accept(listener_, nullptr, nullptr);
      char request[4096];
      if (scheme == Scheme::http) {
        EXPECT_GT(::recv(socket, request, sizeof request, 0), 0);
      }
      answer(socket);
      ::close(socket);
    });
  }
  ~OneAnswer() {
    thread_.join();
    ::close(listener_);
  }
  // The failure's words; what is answered when there is none.
  std::string ask(std::chrono::seconds timeout = 5s, const std::string& ca_file = "") {
    try {
      return ask_prometheus({url_, ca_file}, "/api/v1/query", {{"query", "up"}}, timeout);
    } catch (const Failure& failure) {
      const std::string text = failure.what();
      return text.starts_with(url_) ? text.substr(url_.size()) : text;
    }
  }

 private:
  int listener_;
  std::string url_;
  std::thread thread_;
};

void send(int socket, const std::string& text) {
  EXPECT_EQ(::send(socket, text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
}

TEST(AskPrometheus, AnErrorWithoutJsonIsToldByItsStatus) {
  OneAnswer broken([](int socket) { send(socket, "HTTP/1.1 502 Bad Gateway\r\n\r\n<html>no\nbackend</html>"); });
  EXPECT_EQ(broken.ask(), " answers HTTP 502: <html>no backend</html>");
}

TEST(AskPrometheus, ALoginPageIsShown) {
  OneAnswer login([](int socket) { send(socket, "HTTP/1.1 200 OK\r\n\r\n<html>log in</html>"); });
  EXPECT_EQ(login.ask(), " answers HTTP 200: <html>log in</html>");
}

TEST(AskPrometheus, ARedirectionSaysWhereTo) {
  OneAnswer moved([](int socket) { send(socket, "HTTP/1.1 302 Found\r\nLOCATION: http://other:9090/x\r\n\r\n"); });
  EXPECT_EQ(moved.ask(), " answers HTTP 302: Prometheus is elsewhere: http://other:9090/x; --prometheus must name it");
}

TEST(AskPrometheus, AnErrorInJsonIsReadByWhoAsks) {
  OneAnswer refuses([](int socket) { send(socket, "HTTP/1.1 422 x\r\n\r\n{\"error\":\"too many\"}"); });
  EXPECT_EQ(refuses.ask(), "{\"error\":\"too many\"}");
}

TEST(AskPrometheus, WhoAnswersByteByByteIsNotWaitedForLongerThanAnyOther) {
  OneAnswer drips([](int socket) {
    const auto until = std::chrono::steady_clock::now() + 10s;
    while (std::chrono::steady_clock::now() < until && ::send(socket, " ", 1, MSG_NOSIGNAL) == 1)
      std::this_thread::sleep_for(20ms);
  });
  const auto start = std::chrono::steady_clock::now();
  EXPECT_EQ(drips.ask(1s), " does not answer in time");
  EXPECT_LT(std::chrono::steady_clock::now() - start, 5s);
}

TEST(AskPrometheus, WhatIsNoUrlIsAMistakeOfTheCommandLine) {
  for (const char* url : {"127.0.0.1:9090", "ftp://x", "http://x?a=b", "http://u:p@x", "http://x:0"}) {
    try {
      ask_prometheus({.url = url}, "/api/v1/query", {}, 1s);
      ADD_FAILURE() << url;
    } catch (const Failure& failure) {
      EXPECT_EQ(failure.exit_code(), kUsage);
      EXPECT_NE(std::string(failure.what()).find(url), std::string::npos) << failure.what();
    }
  }
}

// A server with a certificate for localhost and 127.0.0.1, and its authority.
class AskByTls : public testing::Test {
 protected:
  // Shakes hands with `certificate`, if that is accepted, and answers.
  static std::function<void(int)> answering(const controller::CertificateAuthority& authority,
                                            const std::string& certificate) {
    const std::string chain = authority.path(certificate + ".pem");
    const std::string key = authority.path(certificate + ".key");
    return [chain, key](int socket) {
      SSL_CTX* context = SSL_CTX_new(TLS_server_method());
      ASSERT_EQ(SSL_CTX_use_certificate_chain_file(context, chain.c_str()), 1);
      ASSERT_EQ(SSL_CTX_use_PrivateKey_file(context, key.c_str(), SSL_FILETYPE_PEM), 1);
      SSL* tls = SSL_new(context);
      SSL_set_fd(tls, socket);
      if (SSL_accept(tls) == 1) {
        char request[4096];
        EXPECT_GT(SSL_read(tls, request, sizeof request), 0);
        const std::string text = "HTTP/1.1 200 OK\r\n\r\n{\"status\":\"success\"}";
        SSL_write(tls, text.data(), static_cast<int>(text.size()));
        SSL_shutdown(tls);
      }
      SSL_free(tls);
      SSL_CTX_free(context);
    };
  }

  controller::CertificateAuthority authority_;
};

TEST_F(AskByTls, IsAnsweredByWhoProvesItsName) {
  OneAnswer proves(answering(authority_, "server"), OneAnswer::Scheme::https);
  EXPECT_EQ(proves.ask(5s, authority_.path("ca.pem")), "{\"status\":\"success\"}");
}

TEST_F(AskByTls, RefusesAnAuthorityThatIsNotTrusted) {
  OneAnswer proves(answering(authority_, "server"), OneAnswer::Scheme::https);
  EXPECT_THAT(proves.ask(), testing::HasSubstr("certificate is not accepted"));
}

TEST_F(AskByTls, RefusesACertificateOfAnotherHost) {
  authority_.certificate("other", "DNS:other.internal");
  OneAnswer other(answering(authority_, "other"), OneAnswer::Scheme::https);
  EXPECT_THAT(other.ask(5s, authority_.path("ca.pem")), testing::HasSubstr("IP address mismatch"));
}

TEST_F(AskByTls, TellsThatNoTlsIsSpokenThere) {
  OneAnswer plain([](int socket) { send(socket, "HTTP/1.1 400 Bad Request\r\n\r\n"); }, OneAnswer::Scheme::https);
  EXPECT_THAT(plain.ask(), testing::HasSubstr("no TLS is spoken there"));
}

TEST_F(AskByTls, TellsWhichFileOfAuthoritiesIsOfNoUse) {
  OneAnswer proves(answering(authority_, "server"), OneAnswer::Scheme::https);
  EXPECT_THAT(proves.ask(5s, "/nowhere.pem"), testing::HasSubstr("--prometheus-ca: /nowhere.pem"));
}

}  // namespace
}  // namespace penstock::cli
