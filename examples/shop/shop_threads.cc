// The shop as it was when the incident happened: a fixed number of threads, each of which waits for its request's
// third parties. Its usual-but-bad properties are listed in README.md; they are the point, so they stay.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <condition_variable>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <iostream>
#include <map>
#include <mutex>
#include <stdexcept>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "examples/shop/handlers.h"

namespace {

constexpr timeval kSocketTimeout{.tv_sec = 30, .tv_usec = 0};

class Socket {
 public:
  explicit Socket(int fd) : fd_(fd) {}
  Socket(Socket&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Socket& operator=(Socket&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Socket() {
    if (fd_ >= 0) close(fd_);
  }
  int fd() const { return fd_; }

  void set_timeouts() const {
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &kSocketTimeout, sizeof kSocketTimeout);
    setsockopt(fd_, SOL_SOCKET, SO_SNDTIMEO, &kSocketTimeout, sizeof kSocketTimeout);
  }

  // False at the peer's end; throws on an error and after 30 s of silence.
  bool read_more(std::string& into) const {
    std::array<char, 4096> chunk;
    const ssize_t n = recv(fd_, chunk.data(), chunk.size(), 0);
    if (n < 0) throw std::runtime_error(std::string("recv: ") + std::strerror(errno));
    into.append(chunk.data(), static_cast<std::size_t>(n));
    return n > 0;
  }

  void write_all(std::string_view data) const {
    while (!data.empty()) {
      const ssize_t n = send(fd_, data.data(), data.size(), MSG_NOSIGNAL);
      if (n < 0) throw std::runtime_error(std::string("send: ") + std::strerror(errno));
      data.remove_prefix(static_cast<std::size_t>(n));
    }
  }

 private:
  int fd_;
};

sockaddr_in parse_address(std::string_view text) {
  if (text.starts_with("http://")) text.remove_prefix(7);
  const std::size_t colon = text.rfind(':');
  sockaddr_in address{};
  address.sin_family = AF_INET;
  if (colon == text.npos || inet_pton(AF_INET, std::string(text.substr(0, colon)).c_str(), &address.sin_addr) != 1) {
    throw std::invalid_argument(std::string(text) + ": not an IPv4 address and port");
  }
  address.sin_port = htons(static_cast<std::uint16_t>(std::stoi(std::string(text.substr(colon + 1)))));
  return address;
}

// Accepted connections, oldest first, without a bound.
class Backlog {
 public:
  void push(Socket socket) {
    {
      std::lock_guard lock(mutex_);
      waiting_.push_back(std::move(socket));
    }
    arrived_.notify_one();
  }
  Socket pop() {
    std::unique_lock lock(mutex_);
    arrived_.wait(lock, [&] { return !waiting_.empty(); });
    Socket socket = std::move(waiting_.front());
    waiting_.pop_front();
    return socket;
  }

 private:
  std::mutex mutex_;
  std::condition_variable arrived_;
  std::deque<Socket> waiting_;
};

class Shop {
 public:
  explicit Shop(std::map<char, sockaddr_in> third_parties) : third_parties_(std::move(third_parties)) {}

  void serve(const Socket& client) const {
    client.set_timeouts();
    std::string request;
    while (request.find("\r\n\r\n") == request.npos) {
      if (request.size() > 16 * 1024 || !client.read_more(request)) return;
    }
    const std::size_t path_begin = request.find(' ') + 1;
    const std::string_view path =
        std::string_view(request).substr(path_begin, request.find_first_of(" ?", path_begin) - path_begin);
    const std::string user_try = header(request, shop::kTryHeader);
    for (const shop::Endpoint& endpoint : shop::endpoints()) {
      if (endpoint.path != path) continue;
      try {
        respond(client, "200 OK", endpoint.page([&](char name) { return call(name, user_try); }));
      } catch (const std::exception& error) {
        respond(client, "502 Bad Gateway", error.what());
      }
      return;
    }
    respond(client, "404 Not Found", "no such page");
  }

 private:
  static std::string header(std::string_view message, std::string_view name) {
    for (std::size_t line = message.find("\r\n"); line != message.npos; line = message.find("\r\n", line + 2)) {
      std::string_view field = message.substr(line + 2);
      if (field.size() <= name.size() || field[name.size()] != ':' ||
          strncasecmp(field.data(), name.data(), name.size()) != 0) {
        continue;
      }
      field.remove_prefix(name.size() + 1);
      field = field.substr(0, field.find("\r\n"));
      field.remove_prefix(std::min(field.find_first_not_of(' '), field.size()));
      return std::string(field);
    }
    return {};
  }

  static void respond(const Socket& client, std::string_view status, std::string_view body) {
    std::string response = "HTTP/1.1 ";
    response.append(status).append("\r\nContent-Type: text/html\r\nContent-Length: ");
    response.append(std::to_string(body.size())).append("\r\nConnection: close\r\n\r\n").append(body);
    client.write_all(response);
  }

  std::string call(char name, const std::string& user_try) const {
    const sockaddr_in& address = third_parties_.at(name);
    Socket socket(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (socket.fd() < 0) throw std::runtime_error("no descriptor left");
    socket.set_timeouts();
    if (connect(socket.fd(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
      throw std::runtime_error(std::string("connect: ") + std::strerror(errno));
    }
    std::string request = "GET / HTTP/1.1\r\nHost: ";
    request.append(inet_ntoa(address.sin_addr)).append("\r\nConnection: close\r\n");
    if (!user_try.empty()) request.append(shop::kTryHeader).append(": ").append(user_try).append("\r\n");
    socket.write_all(request.append("\r\n"));
    std::string response;
    while (socket.read_more(response)) {
    }
    const std::size_t body = response.find("\r\n\r\n");
    if (body == response.npos || response.substr(0, 13) != "HTTP/1.1 200 ") {
      throw std::runtime_error(std::string("third party ") + name + " failed");
    }
    return response.substr(body + 4);
  }

  std::map<char, sockaddr_in> third_parties_;
};

int listen_on(const sockaddr_in& address) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const int on = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0 || listen(fd, 4096) != 0) {
    throw std::runtime_error(std::string("listen: ") + std::strerror(errno));
  }
  return fd;
}

void raise_descriptor_limit() {
  rlimit limit{};
  getrlimit(RLIMIT_NOFILE, &limit);
  limit.rlim_cur = limit.rlim_max;
  setrlimit(RLIMIT_NOFILE, &limit);
}

constexpr char kUsage[] =
    "Usage: shop-threads --third-parties A=host:port,B=host:port,C=host:port [--listen address:port] [--threads N]\n"
    "       [--page-cpu-ms N] [--page-memory-kib N]\n";

}  // namespace

int main(int argc, char** argv) try {
  std::string listen_address = "127.0.0.1:8080";
  int threads = 320;
  std::map<char, sockaddr_in> third_parties;
  for (int i = 1; i < argc; i += 2) {
    const std::string_view option = argv[i];
    if (option == "--help") return std::cout << kUsage, 0;
    if (i + 1 == argc) return std::cerr << kUsage, 2;
    const std::string value = argv[i + 1];
    if (option == "--listen") {
      listen_address = value;
    } else if (option == "--threads") {
      threads = std::stoi(value);
    } else if (option == "--page-cpu-ms") {
      shop::page_cost().cpu = std::chrono::microseconds(static_cast<long>(std::stod(value) * 1000));
    } else if (option == "--page-memory-kib") {
      shop::page_cost().memory_bytes = std::stoul(value) * 1024;
    } else if (option == "--third-parties") {
      for (std::size_t begin = 0; begin < value.size();) {
        const std::size_t end = std::min(value.find(',', begin), value.size());
        if (end - begin < 3 || value[begin + 1] != '=') return std::cerr << kUsage, 2;
        third_parties[value[begin]] = parse_address(std::string_view(value).substr(begin + 2, end - begin - 2));
        begin = end + 1;
      }
    } else {
      return std::cerr << kUsage, 2;
    }
  }
  for (const char name : {'A', 'B', 'C'}) {
    if (!third_parties.contains(name)) return std::cerr << kUsage, 2;
  }

  raise_descriptor_limit();
  const int listener = listen_on(parse_address(listen_address));
  const Shop shop(std::move(third_parties));
  Backlog backlog;
  std::vector<std::thread> workers;
  for (int i = 0; i < threads; ++i) {
    workers.emplace_back([&] {
      for (;;) {
        const Socket client = backlog.pop();
        try {
          shop.serve(client);
        } catch (const std::exception&) {
          // The client's connection failed; there is nobody left to tell.
        }
      }
    });
  }
  std::cerr << "shop-threads: " << threads << " threads on " << listen_address << std::endl;
  for (;;) {
    const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd >= 0) {
      backlog.push(Socket(fd));
    } else if (errno == EMFILE || errno == ENFILE) {
      usleep(10'000);
    }
  }
} catch (const std::exception& error) {
  std::cerr << "shop-threads: " << error.what() << std::endl;
  return 1;
}
