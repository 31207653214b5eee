#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <optional>
#include <string>
#include <thread>

#include "penstock/http.h"
#include "penstock/runtime.h"
#include "tests/integration/http/command.h"

namespace penstock::http {
namespace {

using ::testing::HasSubstr;

// Our client against OpenSSL's own server, with a certificate for "localhost" from an authority of the test.
class HttpsClient : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/penstock-tls-XXXXXX";
    folder = ::mkdtemp(name);
    const Said made = run_command("cd " + folder +
                                  " && openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2"
                                  " -subj /CN=localhost -addext subjectAltName=DNS:localhost");
    ASSERT_EQ(made.exit, 0) << made.text;
    port = free_port();
    pid = ::fork();
    if (pid == 0) {
      ::chdir(folder.c_str());
      ::execlp("openssl", "openssl", "s_server", "-quiet", "-www", "-accept", std::to_string(port).c_str(), "-cert",
               "cert.pem", "-key", "key.pem", nullptr);
      ::_exit(127);
    }
    ::setenv("SSL_CERT_FILE", (folder + "/cert.pem").c_str(), 1);
    runtime.emplace(RuntimeOptions{.service = "test", .threads = 1});
    thread = std::thread([this] { runtime->run(); });
  }
  void TearDown() override {
    if (thread.joinable()) {
      runtime->stop();
      thread.join();
    }
    if (pid > 0) {
      ::kill(pid, SIGKILL);
      ::waitpid(pid, nullptr, 0);
    }
    ::unsetenv("SSL_CERT_FILE");
    if (!folder.empty()) std::filesystem::remove_all(folder);
  }
  static int free_port() {
    Runtime probing({.service = "probe", .threads = 1});
    return Server(probing, {.port = 0}).port();
  }

  Response get(const std::string& host) {
    Response response;
    runtime
        ->spawn("get",
                [&] {
                  Client client(*runtime);
                  const std::string url = "https://" + host + ":" + std::to_string(port) + "/";
                  // The server is its own process: it may not listen yet.
                  for (int tries = 0;; ++tries) {
                    try {
                      response = client.get(url);
                      return;
                    } catch (const CallError& e) {
                      if (tries > 200 || std::string_view(e.what()).find("connect to") == std::string_view::npos) throw;
                    }
                    sleep_for(std::chrono::milliseconds(20));
                  }
                })
        .join();
    return response;
  }

  std::string folder;
  int port = 0;
  pid_t pid = -1;
  std::optional<Runtime> runtime;
  std::thread thread;
};

TEST_F(HttpsClient, CallsWhomItCanVerify) {
  const Response response = get("localhost");
  EXPECT_EQ(response.status, 200);
  EXPECT_THAT(response.body, HasSubstr("Cipher"));
}

TEST_F(HttpsClient, RefusesACertificateForAnotherName) {
  try {
    get("127.0.0.1");
    ADD_FAILURE() << "the certificate is for localhost";
  } catch (const CallError& e) {
    EXPECT_THAT(e.what(), HasSubstr("IP address mismatch"));
  }
}

TEST_F(HttpsClient, RefusesACertificateFromAnUnknownAuthority) {
  ::unsetenv("SSL_CERT_FILE");
  try {
    get("localhost");
    ADD_FAILURE() << "nobody vouches for the certificate";
  } catch (const CallError& e) {
    EXPECT_THAT(e.what(), HasSubstr("self-signed certificate"));
  }
}

}  // namespace
}  // namespace penstock::http
