// The yardstick of the benchmarks: the least that an HTTP/1.1 server on epoll can do. It finds the end of the header
// and answers with fixed bytes, to /sleep a second later: no parsing, no routes, no deadlines, no metrics. Prints its
// address.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <deque>
#include <string>
#include <string_view>

namespace {

using Clock = std::chrono::steady_clock;

constexpr std::string_view kAnswer =
    "HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 1970 00:00:00 GMT\r\nContent-Type: text/plain; charset=utf-8\r\n"
    "Content-Length: 14\r\n\r\nHello, world!\n";
constexpr std::string_view kEnd = "\r\n\r\n";
constexpr std::string_view kSleep = "GET /sleep ";

[[noreturn]] void fail(const char* what) {
  std::perror(what);
  std::exit(1);
}

// A request that has not come whole is kept in `partial`; the clients of the benchmarks never send one.
struct Connection {
  int fd;
  // A client that leaves while it is being slept for.
  bool sleeping = false;
  bool closed = false;
  std::string partial;
};

struct Sleeper {
  Clock::time_point until;
  Connection* connection;
};
// All sleep equally long: in order of waking.
std::deque<Sleeper> sleepers;

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

bool answer(const Connection& connection) {
  return ::send(connection.fd, kAnswer.data(), kAnswer.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(kAnswer.size());
}

// Answers every request that is complete. False: the client is done.
bool serve(Connection& connection) {
  static std::array<char, 16 * 1024> buffer;
  const ssize_t got = ::recv(connection.fd, buffer.data(), buffer.size(), 0);
  if (got <= 0) return got < 0 && errno == EAGAIN;
  std::string_view rest(buffer.data(), static_cast<std::size_t>(got));
  std::string joined;
  if (!connection.partial.empty()) {
    joined = connection.partial.append(rest);
    connection.partial.clear();
    rest = joined;
  }
  while (true) {
    const auto end = rest.find(kEnd);
    if (end == rest.npos) break;
    if (rest.starts_with(kSleep)) {
      sleepers.push_back({Clock::now() + std::chrono::seconds(1), &connection});
      connection.sleeping = true;
    } else if (!answer(connection)) {
      return false;
    }
    rest.remove_prefix(end + kEnd.size());
  }
  if (!rest.empty()) connection.partial = rest;
  return connection.partial.size() < buffer.size();
}

void close(Connection* connection) {
  if (connection->closed) return;
  ::close(connection->fd);
  connection->closed = true;
  if (!connection->sleeping) delete connection;
}

int milliseconds_to_sleep() {
  if (sleepers.empty()) return -1;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(sleepers.front().until - Clock::now()).count();
  return left < 0 ? 0 : static_cast<int>(left);
}

void wake_sleepers() {
  if (sleepers.empty()) return;
  const auto now = Clock::now();
  while (!sleepers.empty() && sleepers.front().until <= now) {
    Connection* connection = sleepers.front().connection;
    sleepers.pop_front();
    connection->sleeping = false;
    if (connection->closed) {
      delete connection;
    } else if (!answer(*connection)) {
      close(connection);
    }
  }
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
    const int count = ::epoll_wait(epoll, events.data(), static_cast<int>(events.size()), milliseconds_to_sleep());
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
        close(connection);
      }
    }
    wake_sleepers();
  }
}
