// The yardstick of `scripts/bench proxy`: the least that a proxy on epoll can do. For each request one call on a kept
// connection to the upstream, whose answer goes back as it came. Headers are searched for their end and for
// Content-Length; nothing is parsed, guarded, bounded in time or counted. Prints its address; the argument is the
// upstream's port.
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>
#include <string_view>
#include <vector>

#include "bench/proxy/listen.h"

namespace {

constexpr std::string_view kCall = "GET /order HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
constexpr std::string_view kEnd = "\r\n\r\n";
constexpr std::string_view kLength = "\r\nContent-Length: ";

struct Connection {
  int fd;
  bool upstream = false;
  // Whom it works with now: the call of a client, the client of a call.
  Connection* other = nullptr;
  std::size_t size = 0;
  std::array<char, 1024> data;

  std::string_view text() const { return {data.data(), size}; }
};

int epoll;
sockaddr_in upstream{};
std::vector<Connection*> idle;
// Events of the batch may still point to a closed connection.
std::vector<Connection*> closed;

void close_connection(Connection* connection) {
  if (connection->fd < 0) return;
  ::close(connection->fd);
  connection->fd = -1;
  closed.push_back(connection);
  if (connection->other != nullptr) {
    connection->other->other = nullptr;
    close_connection(connection->other);
  }
  if (connection->upstream) std::erase(idle, connection);
}

Connection* take_upstream() {
  if (!idle.empty()) {
    Connection* taken = idle.back();
    idle.pop_back();
    return taken;
  }
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) bench::fail("socket");
  bench::no_delay(fd);
  if (::connect(fd, reinterpret_cast<sockaddr*>(&upstream), sizeof upstream) != 0) bench::fail("connect");
  auto* made = new Connection{fd, true};
  bench::watch(epoll, fd, made);
  return made;
}

// False: nothing more will come.
bool receive(Connection& connection) {
  const ssize_t got = ::recv(connection.fd, connection.data.data() + connection.size,
                             connection.data.size() - connection.size, MSG_DONTWAIT);
  if (got <= 0) return got < 0 && errno == EAGAIN;
  connection.size += static_cast<std::size_t>(got);
  return true;
}

bool send(int fd, std::string_view text) {
  return ::send(fd, text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
}

// One request at a time: what is pipelined closes the connection.
bool serve_client(Connection& client) {
  if (!receive(client) || client.other != nullptr) return false;
  if (!client.text().ends_with(kEnd)) return client.size < client.data.size();
  client.size = 0;
  client.other = take_upstream();
  client.other->other = &client;
  return send(client.other->fd, kCall);
}

bool serve_upstream(Connection& call) {
  if (!receive(call) || call.other == nullptr) return false;
  const auto end = call.text().find(kEnd);
  if (end == std::string_view::npos) return call.size < call.data.size();
  const auto length = call.text().find(kLength);
  if (length > end) return false;
  std::size_t body = 0;
  std::from_chars(call.data.data() + length + kLength.size(), call.data.data() + end, body);
  if (call.size < end + kEnd.size() + body) return call.size < call.data.size();
  Connection& client = *call.other;
  client.other = call.other = nullptr;
  const std::string_view answer = call.text();
  call.size = 0;
  idle.push_back(&call);
  if (!send(client.fd, answer)) close_connection(&client);
  return true;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 2) return 2;
  upstream.sin_family = AF_INET;
  upstream.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  upstream.sin_port = htons(static_cast<std::uint16_t>(std::atoi(argv[1])));
  const int listener = bench::listen_on_loopback();
  epoll = ::epoll_create1(EPOLL_CLOEXEC);
  bench::watch(epoll, listener, nullptr);
  std::array<epoll_event, 256> events;
  while (true) {
    const int count = ::epoll_wait(epoll, events.data(), static_cast<int>(events.size()), -1);
    for (int i = 0; i < count; ++i) {
      auto* connection = static_cast<Connection*>(events[static_cast<std::size_t>(i)].data.ptr);
      if (connection == nullptr) {
        int fd;
        while ((fd = ::accept4(listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0) {
          bench::no_delay(fd);
          bench::watch(epoll, fd, new Connection{fd});
        }
      } else if (connection->fd >= 0 &&
                 !(connection->upstream ? serve_upstream(*connection) : serve_client(*connection))) {
        close_connection(connection);
      }
    }
    for (Connection* gone : closed) delete gone;
    closed.clear();
  }
}
