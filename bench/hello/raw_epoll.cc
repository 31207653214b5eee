// The yardstick of `scripts/bench hello`: the least that an HTTP/1.1 server on epoll can do. It finds the end of the
// header and answers with fixed bytes: no parsing, no routes, no deadlines, no metrics. Prints its address.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr std::string_view kAnswer =
    "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Type: text/plain; charset=utf-8\r\n"
    "Content-Length: 14\r\n\r\nHello, world!\n";
constexpr std::string_view kEnd = "\r\n\r\n";

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

struct Connection {
  int fd;
  std::size_t size = 0;
  std::array<char, 4096> data;
};

int listen_on_loopback() {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd < 0) fail("socket");
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  if (::bind(fd, reinterpret_cast<sockaddr*>(&address), length) != 0) fail("bind");
  if (::listen(fd, 4096) != 0) fail("listen");
  if (::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &length) != 0) fail("getsockname");
  std::printf("127.0.0.1:%d\n", ntohs(address.sin_port));
  std::fflush(stdout);
  return fd;
}

// Answers every request that is complete. False: the client is done.
bool serve(Connection& connection) {
  const ssize_t got =
      ::recv(connection.fd, connection.data.data() + connection.size, connection.data.size() - connection.size, 0);
  if (got <= 0) return got < 0 && errno == EAGAIN;
  connection.size += static_cast<std::size_t>(got);
  std::string_view rest(connection.data.data(), connection.size);
  while (true) {
    const auto end = rest.find(kEnd);
    if (end == rest.npos) break;
    rest.remove_prefix(end + kEnd.size());
    if (::send(connection.fd, kAnswer.data(), kAnswer.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(kAnswer.size())) {
      return false;
    }
  }
  rest.copy(connection.data.data(), rest.size());
  connection.size = rest.size();
  return connection.size < connection.data.size();
}

}  // namespace

int main() {
  const int listener = listen_on_loopback();
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  if (epoll < 0) fail("epoll_create1");
  epoll_event event{};
  event.events = EPOLLIN;
  if (::epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event) != 0) fail("epoll_ctl");
  std::array<epoll_event, 256> events;
  while (true) {
    const int count = ::epoll_wait(epoll, events.data(), static_cast<int>(events.size()), -1);
    for (int i = 0; i < count; ++i) {
      auto* connection = static_cast<Connection*>(events[static_cast<std::size_t>(i)].data.ptr);
      if (connection == nullptr) {
        int fd;
        while ((fd = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
          event.events = EPOLLIN;
          event.data.ptr = new Connection{fd};
          if (::epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) fail("epoll_ctl");
        }
      } else if (!serve(*connection)) {
        ::close(connection->fd);
        delete connection;
      }
    }
  }
}
