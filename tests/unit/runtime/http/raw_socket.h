#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <mutex>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

namespace penstock::http {

// A blocking socket that says exactly what a test tells it to. Reads give up after ten seconds.
class RawSocket {
 public:
  explicit RawSocket(int fd) : fd_(fd) {
    const timeval limit{10, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    const int on = 1;
    ::setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  }
  // With a receive buffer of about that many bytes; 0: the system's.
  static RawSocket connect(std::uint16_t port, int receive_buffer = 0) {
    RawSocket socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (receive_buffer != 0) ::setsockopt(socket.fd_, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (::connect(socket.fd_, reinterpret_cast<sockaddr*>(&to), sizeof to) != 0) socket.close();
    return socket;
  }
  RawSocket(RawSocket&& other) noexcept : fd_(std::exchange(other.fd_, -1)), ahead_(std::move(other.ahead_)) {}
  ~RawSocket() { close(); }

  bool connected() const { return fd_ >= 0; }
  int fd() const { return fd_; }
  void close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }

  void shutdown_send() { ::shutdown(fd_, SHUT_WR); }
  // Closes so that the peer gets a reset.
  void reset() {
    const linger now{1, 0};
    ::setsockopt(fd_, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close();
  }

  bool send(std::string_view data) {
    while (!data.empty()) {
      const ssize_t sent = ::send(fd_, data.data(), data.size(), MSG_NOSIGNAL);
      if (sent <= 0) return false;
      data.remove_prefix(static_cast<std::size_t>(sent));
    }
    return true;
  }

  // One more read; false at the end of the stream, on an error or after ten seconds.
  bool read_more() {
    char block[16 * 1024];
    const ssize_t got = ::recv(fd_, block, sizeof block, 0);
    if (got <= 0) return false;
    ahead_.append(block, static_cast<std::size_t>(got));
    return true;
  }
  // Everything up to and including `end`; empty when it did not come.
  std::string read_until(std::string_view end) {
    std::size_t at;
    while ((at = ahead_.find(end)) == std::string::npos) {
      if (!read_more()) return {};
    }
    std::string text = ahead_.substr(0, at + end.size());
    ahead_.erase(0, at + end.size());
    return text;
  }
  // The same for a lot of bytes, which are forgotten. False: it did not come.
  bool skip_until(std::string_view end) {
    std::size_t at;
    while ((at = ahead_.find(end)) == std::string::npos) {
      ahead_.erase(0, ahead_.size() - std::min(ahead_.size(), end.size()));
      if (!read_more()) return false;
    }
    ahead_.erase(0, at + end.size());
    return true;
  }
  std::string read_to_end() {
    while (read_more()) {
    }
    return std::exchange(ahead_, {});
  }
  // Whether the peer has ended its stream, and did not reset the connection.
  bool ended_by_peer() {
    char byte;
    return ahead_.empty() && ::recv(fd_, &byte, 1, 0) == 0;
  }
  // Whether the peer closed, and sent nothing more.
  bool closed_by_peer() { return !read_more() && ahead_.empty(); }

  struct Answer {
    int status = 0;
    std::string head;
    std::string body;
  };
  // An answer with a Content-Length, or without a body. Status 0: none came.
  Answer read_answer(bool head_only = false) {
    Answer answer;
    answer.head = read_until("\r\n\r\n");
    if (answer.head.size() < 12) return answer;
    answer.status = std::atoi(answer.head.c_str() + 9);
    const auto length = answer.head.find("Content-Length: ");
    if (length == std::string::npos || head_only) return answer;
    const auto size = static_cast<std::size_t>(std::atoi(answer.head.c_str() + length + 16));
    while (ahead_.size() < size) {
      if (!read_more()) return answer;
    }
    answer.body = ahead_.substr(0, size);
    ahead_.erase(0, size);
    return answer;
  }
  Answer ask(std::string_view request) {
    send(request);
    return read_answer();
  }

 private:
  int fd_;
  std::string ahead_;
};

// Listens on a free port of loopback and plays `script` with every connection, each on its own thread; the script gets
// the connection's number, from 0.
class RawServer {
 public:
  using Script = std::function<void(RawSocket&, int)>;
  explicit RawServer(Script script, const char* address = "127.0.0.1") : script_(std::move(script)), address_(address) {
    fd_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in at{};
    at.sin_family = AF_INET;
    ::inet_pton(AF_INET, address, &at.sin_addr);
    socklen_t size = sizeof at;
    ::bind(fd_, reinterpret_cast<sockaddr*>(&at), size);
    ::listen(fd_, 1024);
    ::getsockname(fd_, reinterpret_cast<sockaddr*>(&at), &size);
    port_ = ntohs(at.sin_port);
    acceptor_ = std::thread([this] {
      int connection;
      while ((connection = ::accept(fd_, nullptr, nullptr)) >= 0) {
        const std::lock_guard lock(mutex_);
        threads_.emplace_back([this, connection, number = accepted_++] {
          RawSocket socket(connection);
          script_(socket, number);
        });
      }
    });
  }
  ~RawServer() {
    ::shutdown(fd_, SHUT_RDWR);
    acceptor_.join();
    ::close(fd_);
    for (auto& thread : threads_) thread.join();
  }

  int accepted() const { return accepted_; }
  std::string url(std::string_view path = "/") const {
    return "http://" + address_ + ":" + std::to_string(port_) + std::string(path);
  }

 private:
  const Script script_;
  const std::string address_;
  int fd_;
  std::uint16_t port_ = 0;
  std::atomic<int> accepted_{0};
  std::mutex mutex_;
  std::vector<std::thread> threads_;
  std::thread acceptor_;
};

}  // namespace penstock::http
