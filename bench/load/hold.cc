// A load for the benchmarks: holds many connections to one server.
//   bench-hold ADDRESS:PORT PATH CONNECTIONS idle|once
// `idle`: one request on each connection, one connection after the other; prints "held" and keeps them open until its
// input ends. `once`: opens them all, prints "open", and when a line comes, sends one request on each at once, and
// prints the seconds until the last answer was there. Every answer must be a 200 with Content-Length.
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
#include <string>
#include <string_view>
#include <vector>

namespace {

[[noreturn]] void fail(const std::string& what) {
  std::fprintf(stderr, "bench-hold: %s\n", what.c_str());
  std::exit(1);
}

int connect_to(const sockaddr_in& address) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) fail("socket: out of descriptors?");
  if (::connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) fail("connect");
  const int on = 1;
  ::setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

void send_all(int fd, const std::string& text) {
  if (::send(fd, text.data(), text.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(text.size())) fail("send");
}

// Whether `answer` is whole; fails when it is not one that is wanted.
bool complete(std::string_view answer) {
  const auto end = answer.find("\r\n\r\n");
  if (end == answer.npos) return false;
  if (!answer.starts_with("HTTP/1.1 200")) fail("an answer that is not 200: " + std::string(answer.substr(0, end)));
  const std::string head(answer.substr(0, end));
  for (const char* name : {"Content-Length: ", "content-length: "}) {
    if (const auto at = head.find(name); at != head.npos) {
      return answer.size() - end - 4 == std::strtoul(head.c_str() + at + 16, nullptr, 10);
    }
  }
  fail("an answer without Content-Length");
}

void read_answer(int fd) {
  std::string answer;
  std::array<char, 4096> buffer;
  while (!complete(answer)) {
    const ssize_t n = ::recv(fd, buffer.data(), buffer.size(), 0);
    if (n <= 0) fail("the server closed a connection");
    answer.append(buffer.data(), static_cast<std::size_t>(n));
  }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 5) fail("usage: bench-hold ADDRESS:PORT PATH CONNECTIONS idle|once");
  const std::string target = argv[1];
  const auto colon = target.find(':');
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<std::uint16_t>(std::strtoul(target.c_str() + colon + 1, nullptr, 10)));
  if (::inet_pton(AF_INET, target.substr(0, colon).c_str(), &address.sin_addr) != 1) fail("no IPv4 address");
  const std::string request = "GET " + std::string(argv[2]) + " HTTP/1.1\r\nHost: " + target + "\r\n\r\n";
  const std::size_t count = std::strtoul(argv[3], nullptr, 10);
  const bool once = std::string_view(argv[4]) == "once";

  std::vector<int> connections;
  for (std::size_t i = 0; i < count; ++i) {
    connections.push_back(connect_to(address));
    if (once) continue;
    send_all(connections.back(), request);
    read_answer(connections.back());
  }
  std::puts(once ? "open" : "held");
  std::fflush(stdout);
  std::getchar();
  if (!once) return 0;

  const int epoll = ::epoll_create1(EPOLL_CLOEXEC);
  std::vector<std::string> answers(count);
  const auto start = std::chrono::steady_clock::now();
  for (std::size_t i = 0; i < count; ++i) {
    send_all(connections[i], request);
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = i;
    if (::epoll_ctl(epoll, EPOLL_CTL_ADD, connections[i], &event) != 0) fail("epoll_ctl");
  }
  std::array<epoll_event, 256> events;
  std::array<char, 4096> buffer;
  for (std::size_t left = count; left > 0;) {
    const int ready = ::epoll_wait(epoll, events.data(), static_cast<int>(events.size()), 60'000);
    if (ready <= 0) fail("no answer within a minute");
    for (int i = 0; i < ready; ++i) {
      const std::size_t which = events[static_cast<std::size_t>(i)].data.u64;
      const ssize_t n = ::recv(connections[which], buffer.data(), buffer.size(), 0);
      if (n <= 0) fail("the server closed a connection");
      answers[which].append(buffer.data(), static_cast<std::size_t>(n));
      if (!complete(answers[which])) continue;
      ::epoll_ctl(epoll, EPOLL_CTL_DEL, connections[which], nullptr);
      --left;
    }
  }
  std::printf("%.4f\n", std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count());
}
