#include "runtime/net/resolver.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <boost/asio/error.hpp>
#include <chrono>
#include <cstring>
#include <exception>
#include <future>
#include <string>
#include <thread>
#include <vector>

#include "penstock/fiber.h"
#include "penstock/runtime.h"
#include "runtime/fiber/offload.h"
#include "tests/unit/runtime/fiber/threads.h"

namespace penstock::net {
namespace {

using namespace std::chrono_literals;

// A name server on a plain thread. Names that begin with "v4" have 192.0.2.1, those with "both" also 2001:db8::1;
// "silent" is not answered; all others do not exist. The time to live is a minute, but one of "short" is zero.
class NameServer {
 public:
  NameServer() : fd_(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::bind(fd_, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    socklen_t length = sizeof address;
    ::getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &length);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { serve(); });
  }
  ~NameServer() {
    stop_ = true;
    ::shutdown(fd_, SHUT_RDWR);
    thread_.join();
    ::close(fd_);
  }
  Endpoint endpoint() const { return {"127.0.0.1", port_}; }
  int questions() const { return questions_; }
  // Hears, and says nothing.
  void be_mute() { mute_ = true; }

 private:
  void serve() {
    const timeval poll{0, 10'000};
    ::setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &poll, sizeof poll);
    while (!stop_) {
      unsigned char packet[512];
      sockaddr_in from{};
      socklen_t length = sizeof from;
      const ssize_t n = ::recvfrom(fd_, packet, sizeof packet, 0, reinterpret_cast<sockaddr*>(&from), &length);
      if (n < 17) continue;
      ++questions_;
      if (mute_) continue;
      // The question: labels, type, class.
      std::string name;
      std::size_t at = 12;
      while (packet[at] != 0) {
        name.append(reinterpret_cast<char*>(packet + at + 1), packet[at]).push_back('.');
        at += packet[at] + 1u;
      }
      const int type = packet[at + 1] << 8 | packet[at + 2];
      std::string answer(reinterpret_cast<char*>(packet), at + 5);
      if (name.starts_with("silent")) continue;
      const bool both = name.starts_with("both");
      const bool known = both || name.starts_with("v4") || name.starts_with("short");
      std::string data;
      if (known && type == 1) data = {'\xc0', '\0', '\x02', '\x01'};
      if (both && type == 28) data = std::string("\x20\x01\x0d\xb8", 4) + std::string(11, '\0') + '\x01';
      answer[2] = '\x84';
      answer[3] = known ? '\0' : '\x03';
      std::memset(answer.data() + 6, 0, 6);
      if (!data.empty()) {
        answer[7] = 1;
        const char ttl = name.starts_with("short") ? 0 : 60;
        answer += std::string({'\xc0', '\x0c', '\0', static_cast<char>(type), '\0', '\1', '\0', '\0', '\0', ttl, '\0'});
        answer += static_cast<char>(data.size()) + data;
      }
      ::sendto(fd_, answer.data(), answer.size(), 0, reinterpret_cast<sockaddr*>(&from), length);
    }
  }

  const int fd_;
  std::uint16_t port_;
  std::atomic<bool> stop_ = false;
  std::atomic<int> questions_ = 0;
  std::atomic<bool> mute_ = false;
  std::thread thread_;
};

// A scheduler thread that asks a name server of the test's own.
class Resolving : public testing::Test {
 protected:
  void run(std::function<void()> fn) {
    threads_.run([&] {
      set_resolver_options({.servers = {server_.endpoint()}, .timeout = 50ms, .tries = 2});
      fn();
    });
  }
  NameServer server_;
  fiber::Threads threads_;
};

error_code error_of(std::string_view host) {
  try {
    resolve(host, 1);
  } catch (const boost::system::system_error& e) {
    return e.code();
  }
  return {};
}

TEST_F(Resolving, NumericHostsComeBack) {
  run([&] {
    EXPECT_EQ(resolve("127.0.0.1", 80), (std::vector<Endpoint>{{"127.0.0.1", 80}}));
    EXPECT_EQ(resolve("::1", 80), (std::vector<Endpoint>{{"::1", 80}}));
    EXPECT_EQ(server_.questions(), 0);
  });
}

TEST_F(Resolving, HostsFileCounts) {
  run([&] {
    const auto found = resolve("localhost", 80);
    ASSERT_FALSE(found.empty());
    EXPECT_EQ(found.front(), (Endpoint{"127.0.0.1", 80}));
  });
}

TEST_F(Resolving, AsksTheNameServerAndPrefersIpv4) {
  run([] {
    EXPECT_EQ(resolve("v4.test", 80), (std::vector<Endpoint>{{"192.0.2.1", 80}}));
    EXPECT_EQ(resolve("both.test", 80), (std::vector<Endpoint>{{"192.0.2.1", 80}, {"2001:db8::1", 80}}));
  });
}

TEST_F(Resolving, AnswersAreKept) {
  run([&] {
    resolve("v4.test", 80);
    const int asked = server_.questions();
    for (int i = 0; i < 10; ++i) resolve("v4.test", 81);
    EXPECT_EQ(server_.questions(), asked);
  });
}

TEST_F(Resolving, ManyFibersAskOnce) {
  run([&] {
    resolve("v4.warm.test", 80);
    const int before = server_.questions();
    std::vector<Fiber> fibers;
    int found = 0;
    for (int i = 0; i < 50; ++i) {
      fibers.push_back(spawn("asking", [&] { found += static_cast<int>(resolve("v4.cold.test", 80).size()); }));
    }
    for (Fiber& fiber : fibers) fiber.join();
    EXPECT_EQ(found, 50);
    EXPECT_LE(server_.questions(), before + 2);
  });
}

TEST_F(Resolving, NoSuchHost) {
  run([] {
    EXPECT_EQ(error_of("missing.test"), boost::asio::error::host_not_found);
    EXPECT_EQ(error_of(""), boost::asio::error::host_not_found);
    EXPECT_EQ(error_of(std::string(300, 'x')), boost::asio::error::host_not_found);
    EXPECT_EQ(error_of(std::string_view("v4.test\0x", 9)), boost::asio::error::host_not_found);
  });
}

TEST_F(Resolving, ThatThereIsNoSuchHostIsKept) {
  run([&] {
    EXPECT_EQ(error_of("missing.test"), boost::asio::error::host_not_found);
    const int asked = server_.questions();
    for (int i = 0; i < 10; ++i) EXPECT_EQ(error_of("missing.test"), boost::asio::error::host_not_found);
    EXPECT_EQ(server_.questions(), asked);
  });
}

TEST_F(Resolving, OldAnswersAreUsedWhileNoServerAnswers) {
  run([&] {
    const auto before = resolve("short.test", 80);
    server_.be_mute();
    // Its second has passed when the server is asked again.
    const int asked = server_.questions();
    const Instant give_up = std::chrono::steady_clock::now() + 10s;
    while (server_.questions() == asked && std::chrono::steady_clock::now() < give_up) {
      EXPECT_EQ(resolve("short.test", 80), before);
      sleep_for(10ms);
    }
    EXPECT_EQ(resolve("short.test", 80), before);
    EXPECT_EQ(error_of("v4.other.test"), boost::asio::error::timed_out);
  });
}

TEST_F(Resolving, TheSystemCanBeAskedInstead) {
  fiber::OffloadThreads offload(1, 2);
  threads_.run([&] {
    set_resolver_options({.system = &offload});
    const auto found = resolve("localhost", 80);
    ASSERT_FALSE(found.empty());
    EXPECT_EQ(found.front(), (Endpoint{"127.0.0.1", 80}));
    EXPECT_EQ(resolve("localhost", 81).front().port, 81);
    EXPECT_TRUE(error_of("no such host.invalid"));
    std::vector<Fiber> fibers;
    for (int i = 0; i < 20; ++i) {
      fibers.push_back(spawn("asking", [] { EXPECT_FALSE(resolve("127.1", 1).empty()); }));
    }
    for (Fiber& fiber : fibers) fiber.join();
    EXPECT_EQ(server_.questions(), 0);
  });
}

TEST(Resolver, IsTheSystemsWhenTheRuntimeIsToldSo) {
  Runtime runtime({.threads = 1, .resolver = RuntimeOptions::Resolver::system});
  std::promise<std::vector<Endpoint>> found;
  // Short forms of addresses are the C library's.
  runtime.spawn("asking", [&] {
    try {
      found.set_value(resolve("127.1", 80));
    } catch (...) {
      found.set_exception(std::current_exception());
    }
  });
  EXPECT_EQ(found.get_future().get(), (std::vector<Endpoint>{{"127.0.0.1", 80}}));
}

TEST_F(Resolving, SilentNameServerTimesOut) {
  run([] { EXPECT_EQ(error_of("silent.test"), boost::asio::error::timed_out); });
}

TEST_F(Resolving, DeadlineAndCancelEndTheWait) {
  run([] {
    {
      DeadlineScope scope(std::chrono::steady_clock::now() + 5ms);
      EXPECT_THROW(resolve("silent.one.test", 1), DeadlineExceeded);
    }
    Fiber fiber = spawn("asking", [] { resolve("silent.two.test", 1); });
    yield();
    fiber.cancel();
    EXPECT_THROW(fiber.join(), Cancelled);
    // The thread ends with both questions still open.
  });
}

}  // namespace
}  // namespace penstock::net
