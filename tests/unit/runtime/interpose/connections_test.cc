#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/un.h>

#include <atomic>
#include <thread>
#include <vector>

#include "tests/unit/runtime/interpose/fixture.h"

namespace penstock::interpose {
namespace {

TEST(Connections, AreMadeAndAcceptedOnOneThread) {
  on_fiber([] {
    Listening listener = listening();
    Fiber server = spawn("server", [&] {
      sockaddr_in from{};
      socklen_t size = sizeof from;
      Fd accepted(::accept(listener.fd.get(), reinterpret_cast<sockaddr*>(&from), &size));
      ASSERT_GE(accepted.get(), 0);
      EXPECT_EQ(from.sin_family, AF_INET);
      EXPECT_EQ(::fcntl(accepted.get(), F_GETFL) & O_NONBLOCK, 0);
      char byte;
      EXPECT_EQ(::read(accepted.get(), &byte, 1), 1);
      EXPECT_EQ(::write(accepted.get(), &byte, 1), 1);
    });
    ::usleep(1'000);
    Fd client = connected_to(listener.address);
    EXPECT_EQ(::fcntl(client.get(), F_GETFL) & O_NONBLOCK, 0);
    EXPECT_EQ(::write(client.get(), "x", 1), 1);
    char byte = 0;
    EXPECT_EQ(::read(client.get(), &byte, 1), 1);
    EXPECT_EQ(byte, 'x');
    server.join();
  });
}

TEST(Connections, ManyFibersAcceptOnOneListener) {
  static constexpr int kEach = 50;
  on_fiber([] {
    Listening listener = listening();
    std::atomic<int> served{0};
    std::vector<Fiber> servers;
    for (int i = 0; i < kEach; ++i) {
      servers.push_back(spawn("server", [&] {
        Fd accepted(::accept4(listener.fd.get(), nullptr, nullptr, SOCK_CLOEXEC));
        EXPECT_GE(accepted.get(), 0);
        ++served;
        EXPECT_EQ(::write(accepted.get(), "x", 1), 1);
      }));
    }
    ::usleep(1'000);
    std::vector<Fiber> clients;
    for (int i = 0; i < kEach; ++i) {
      clients.push_back(spawn("client", [&] {
        Fd client = connected_to(listener.address);
        char byte;
        EXPECT_EQ(::read(client.get(), &byte, 1), 1);
      }));
    }
    for (Fiber& fiber : clients) fiber.join();
    for (Fiber& fiber : servers) fiber.join();
    EXPECT_EQ(served, kEach);
  });
}

TEST(Connections, FibersAndPlainThreadsAcceptOnOneListener) {
  Listening listener = listening();
  fiber::Threads threads(2);
  std::atomic<int> accepted{0};
  const auto accept_some = [&] {
    for (int i = 0; i < 10; ++i) {
      Fd connection(::accept(listener.fd.get(), nullptr, nullptr));
      EXPECT_GE(connection.get(), 0) << errno;
      ++accepted;
    }
  };
  auto first = threads.start(accept_some, 0);
  auto second = threads.start(accept_some, 1);
  std::thread plain(accept_some);
  std::vector<Fd> clients;
  for (int i = 0; i < 30; ++i) clients.push_back(connected_to(listener.address));
  first();
  second();
  plain.join();
  EXPECT_EQ(accepted, 30);
}

TEST(Connections, TheListenersFlagIsTheProgrammes) {
  on_fiber([] {
    Listening listener = listening();
    const int fd = listener.fd.get();
    Fd copy(::dup(fd));
    timeval bound{0, 5'000};
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &bound, sizeof bound);
    EXPECT_EQ(::accept(fd, nullptr, nullptr), -1);
    EXPECT_EQ(errno, EAGAIN);
    Fd later(::dup(fd));
    for (int each : {fd, later.get()}) {
      EXPECT_EQ(::fcntl(each, F_GETFL) & O_NONBLOCK, 0);
    }
    bound = {};
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &bound, sizeof bound);
    int on = 1;
    EXPECT_EQ(::ioctl(later.get(), FIONBIO, &on), 0);
    EXPECT_NE(::fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    EXPECT_EQ(::accept(fd, nullptr, nullptr), -1);
    EXPECT_EQ(errno, EAGAIN);
    EXPECT_EQ(::fcntl(fd, F_SETFL, O_RDWR), 0);
    EXPECT_EQ(::fcntl(later.get(), F_GETFL) & O_NONBLOCK, 0);
    Fiber client = spawn("client", [&] {
      ::usleep(1'000);
      connected_to(listener.address);
    });
    Fd accepted(::accept(later.get(), nullptr, nullptr));
    EXPECT_GE(accepted.get(), 0);
    client.join();
  });
}

TEST(Connections, ErrorsAreThoseOfThePlainCall) {
  on_fiber([] {
    Listening listener = listening();
    const sockaddr_in gone = listener.address;
    listener.fd.close();
    Fd fd(::socket(AF_INET, SOCK_STREAM, 0));
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&gone), sizeof gone), -1);
    EXPECT_EQ(errno, ECONNREFUSED);
    EXPECT_EQ(::accept(fd.get(), nullptr, nullptr), -1);
    EXPECT_EQ(errno, EINVAL);
    Ends pipe = make_pipe();
    EXPECT_EQ(::accept(pipe.one.get(), nullptr, nullptr), -1);
    EXPECT_EQ(errno, ENOTSOCK);
    Fd nonblocking(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
    Listening other = listening();
    const int result =
        ::connect(nonblocking.get(), reinterpret_cast<const sockaddr*>(&other.address), sizeof other.address);
    EXPECT_TRUE(result == 0 || errno == EINPROGRESS);
    EXPECT_NE(::fcntl(nonblocking.get(), F_GETFL) & O_NONBLOCK, 0);
  });
}

TEST(Connections, AFullListenerIsWaitedFor) {
  on_fiber([] {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    // An abstract name.
    const int length = std::snprintf(address.sun_path + 1, sizeof address.sun_path - 1, "penstock-%d", ::getpid());
    const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + static_cast<std::size_t>(length));
    Fd listener(::socket(AF_UNIX, SOCK_STREAM, 0));
    ASSERT_EQ(::bind(listener.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    ASSERT_EQ(::listen(listener.get(), 0), 0);
    std::vector<Fiber> clients;
    for (int i = 0; i < 5; ++i) {
      clients.push_back(spawn("client", [&] {
        Fd fd(::socket(AF_UNIX, SOCK_STREAM, 0));
        EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), size), 0) << errno;
      }));
    }
    ::usleep(2'000);
    for (int i = 0; i < 5; ++i) Fd(::accept(listener.get(), nullptr, nullptr));
    for (Fiber& fiber : clients) fiber.join();
  });
}

TEST(Connections, TheRequestsDeadlineEndsThem) {
  on_fiber([] {
    // What comes beyond the backlog is not answered.
    Listening listener = listening(0);
    std::vector<Fd> filling;
    for (int i = 0; i < 4; ++i) {
      filling.emplace_back(::socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0));
      ::connect(filling.back().get(), reinterpret_cast<sockaddr*>(&listener.address), sizeof listener.address);
    }
    const DeadlineScope scope(std::chrono::steady_clock::now() + milliseconds(20));
    Fd fd(::socket(AF_INET, SOCK_STREAM, 0));
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&listener.address), sizeof listener.address), -1);
    EXPECT_EQ(errno, ETIMEDOUT);
    Listening idle = listening();
    EXPECT_EQ(::accept(idle.fd.get(), nullptr, nullptr), -1);
    EXPECT_EQ(errno, ETIMEDOUT);
  });
}

}  // namespace
}  // namespace penstock::interpose
