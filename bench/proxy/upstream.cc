// The third party of `scripts/bench proxy`: answers every request after 50 ms. Prints its address.
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <deque>
#include <string_view>

#include "bench/proxy/listen.h"

namespace {

using Clock = std::chrono::steady_clock;

constexpr auto kDelay = std::chrono::milliseconds(50);
constexpr std::string_view kAnswer =
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 29\r\n\r\n{\"order\": 1, \"state\": "
    "\"paid\"}";
constexpr std::string_view kEnd = "\r\n\r\n";

struct Connection {
  int fd;
  // Answers that are due later.
  int pending = 0;
  bool closed = false;
  // How much of kEnd has come.
  std::size_t matched = 0;
};

struct Due {
  Clock::time_point at;
  Connection* connection;
};

// All wait equally long: the first to come is the first to be answered.
std::deque<Due> due;

void release(Connection* connection) {
  if (connection->closed && connection->pending == 0) delete connection;
}

void receive(Connection* connection) {
  std::array<char, 16 * 1024> data;
  const ssize_t got = ::recv(connection->fd, data.data(), data.size(), 0);
  if (got < 0 && errno == EAGAIN) return;
  if (got <= 0) {
    ::close(connection->fd);
    connection->closed = true;
    release(connection);
    return;
  }
  const auto at = Clock::now() + kDelay;
  for (ssize_t i = 0; i < got; ++i) {
    const char c = data[static_cast<std::size_t>(i)];
    connection->matched = c == kEnd[connection->matched] ? connection->matched + 1 : c == '\r';
    if (connection->matched < kEnd.size()) continue;
    connection->matched = 0;
    ++connection->pending;
    due.push_back({at, connection});
  }
}

void answer() {
  const auto now = Clock::now();
  while (!due.empty() && due.front().at <= now) {
    Connection* connection = due.front().connection;
    due.pop_front();
    --connection->pending;
    if (!connection->closed && ::send(connection->fd, kAnswer.data(), kAnswer.size(), MSG_NOSIGNAL) < 0 &&
        errno != EPIPE && errno != ECONNRESET) {
      bench::fail("send");
    }
    release(connection);
  }
}

int until_due() {
  if (due.empty()) return -1;
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(due.front().at - Clock::now()).count();
  return left > 0 ? static_cast<int>(left) : 0;
}

}  // namespace

int main() {
  const int listener = bench::listen_on_loopback();
  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  bench::watch(epoll, listener, nullptr);
  std::array<epoll_event, 512> events;
  while (true) {
    const int count = ::epoll_wait(epoll, events.data(), static_cast<int>(events.size()), until_due());
    for (int i = 0; i < count; ++i) {
      auto* connection = static_cast<Connection*>(events[static_cast<std::size_t>(i)].data.ptr);
      if (connection != nullptr) {
        receive(connection);
        continue;
      }
      int fd;
      while ((fd = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
        bench::no_delay(fd);
        bench::watch(epoll, fd, new Connection{fd});
      }
    }
    answer();
  }
}
