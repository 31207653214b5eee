#include "cli/prometheus.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <string>
#include <thread>

#include "cli/failure.h"

namespace penstock::cli {
namespace {

using namespace std::chrono_literals;

// Answers one connection as `answer` does.
class OneAnswer {
 public:
  explicit OneAnswer(std::function<void(int socket)> answer) {
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    EXPECT_EQ(::bind(listener_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(listener_, 1), 0);
    EXPECT_EQ(::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    url_ = "http://127.0.0.1:" + std::to_string(ntohs(address.sin_port));
    thread_ = std::thread([this, answer = std::move(answer)] {
      const int socket = ::accept(listener_, nullptr, nullptr);
      char request[4096];
      EXPECT_GT(::recv(socket, request, sizeof request, 0), 0);
      answer(socket);
      ::close(socket);
    });
  }
  ~OneAnswer() {
    thread_.join();
    ::close(listener_);
  }
  // The failure's words; what is answered when there is none.
  std::string ask(std::chrono::seconds timeout = 5s) {
    try {
      return ask_prometheus(url_, "/api/v1/query", {{"query", "up"}}, timeout);
    } catch (const Failure& failure) {
      return std::string(failure.what()).substr(url_.size());
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

}  // namespace
}  // namespace penstock::cli
